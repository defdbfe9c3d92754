"""The limits of a process's control groups, in made-up trees of both versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.hardware import cgroup

GIB = 1024**3
UNLIMITED = str(2**63 - 4096)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Write the files of a tree, and what /proc/self/cgroup says."""
    with pytest.MonkeyPatch.context() as patch:

        def make(own: str, files: dict[str, Any]) -> None:
            folder = tmp_path_factory.mktemp("groups")
            patch.setattr(cgroup, "TOP", folder / "sys")
            patch.setattr(cgroup, "OWN", folder / "own")
            (folder / "own").write_text(own)
            for name, text in files.items():
                path = folder / "sys" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"{text}\n")

        yield make


@pytest.mark.parametrize(
    ("own", "files", "memory", "cpus"),
    [
        pytest.param("", {}, [], None, id="no groups at all"),
        pytest.param(
            "0::/\n",
            {"memory.max": 8 * GIB, "memory.current": 7 * GIB, "cpu.max": "250000 100000"},
            [(8, 1)], 2.5, id="a container",
        ),
        pytest.param(
            "0::/user.slice/user-7.slice/session.scope\n",
            {
                "user.slice/user-7.slice/memory.max": 8 * GIB,
                "user.slice/user-7.slice/memory.current": 6 * GIB,
                "user.slice/user-7.slice/session.scope/memory.max": "max",
                "user.slice/user-7.slice/session.scope/cpu.max": "max 100000",
                "user.slice/user-7.slice/cpu.max": "400000 100000",
                "user.slice/cpu.max": "100000 50000",
                "user.slice/user-8.slice/memory.max": 1,
            },
            [(8, 2)], 2, id="systemd: a limit of the group around",
        ),
        pytest.param(
            "0::/system.slice/hub.service\n",
            {
                "system.slice/hub.service/memory.high": 4 * GIB,
                "system.slice/hub.service/memory.max": 6 * GIB,
                "system.slice/hub.service/memory.current": 5 * GIB,
                "system.slice/hub.service/memory.stat":
                    f"anon 1\ninactive_file {2 * GIB}\nactive_file {GIB}",
            },
            [(4, 2)], None, id="JupyterHub: MemoryHigh, and what is kept of files",
        ),
        pytest.param(
            "5:cpuacct,cpu:/slurm/uid_1/job_2\n4:memory:/slurm/uid_1/job_2/step_0\n0::/\n1:name=x:/",
            {
                "memory/slurm/uid_1/job_2/memory.limit_in_bytes": 16 * GIB,
                "memory/slurm/uid_1/job_2/memory.usage_in_bytes": 9 * GIB,
                "memory/slurm/uid_1/job_2/memory.stat":
                    f"inactive_file 1\ntotal_inactive_file {GIB}",
                "memory/slurm/uid_1/job_2/step_0/memory.limit_in_bytes": UNLIMITED,
                "cpu/slurm/uid_1/job_2/cpu.cfs_quota_us": 200000,
                "cpu/slurm/uid_1/job_2/cpu.cfs_period_us": 100000,
                "cpu/slurm/cpu.cfs_quota_us": -1,
                "cpu/slurm/cpu.cfs_period_us": 100000,
            },
            [(16, 8)], 2, id="Slurm: version 1",
        ),
        pytest.param(
            "4:memory:/docker/0123\n3:cpu,cpuacct:/docker/0123\n",
            {
                "memory/memory.limit_in_bytes": 2 * GIB,
                "memory/memory.usage_in_bytes": 3 * GIB,
                "cpu,cpuacct/cpu.cfs_quota_us": 50000,
                "cpu,cpuacct/cpu.cfs_period_us": 100000,
            },
            [(2, 0)], 0.5, id="a container of version 1 sees its own group at the top",
        ),
        pytest.param(
            "0::/../../other\n", {"memory.max": GIB, "memory.current": 0}, [(1, 1)], None,
            id="outside of the namespace",
        ),
        pytest.param(
            "nonsense\n0::/a\n", {"a/memory.max": "lots", "a/cpu.max": "0 0"}, [], None,
            id="files that say nothing",
        ),
    ],
)  # fmt: skip
def test_limits_of_all_groups_count_minus_what_is_used(
    own: str, files: dict[str, Any], memory: list[Any], cpus: float | None, tree: Any
) -> None:
    tree(own, files)
    found = [(limit, left) for limit, left in cgroup.memory_bytes() if limit < 2**60]
    assert found == [(limit * GIB, left * GIB) for limit, left in memory]
    assert cgroup.cpus() == cpus


GROUP = st.tuples(st.none() | st.integers(1, 64), st.integers(0, 80), st.none() | st.integers(1, 9))


@given(st.lists(GROUP, min_size=1, max_size=6), st.booleans())
def test_the_strictest_group_counts_wherever_it_is(
    tree: Any, groups: list[tuple[int | None, int, int | None]], second: bool
) -> None:
    """A path of groups, each with (limit, used) in GiB and CPUs, or without a limit."""
    names = [f"g{depth}" for depth in range(len(groups))]
    path = "/".join(names)
    own = f"0::/{path}\n" if second else f"3:memory:/{path}\n2:cpu,cpuacct:/{path}\n"
    files: dict[str, Any] = {}
    for depth, (limit, used, cpus) in enumerate(groups):
        at = Path(*names[: depth + 1])
        if second:
            files[f"{at}/memory.max"] = "max" if limit is None else limit * GIB
            files[f"{at}/memory.current"] = used * GIB
            files[f"{at}/cpu.max"] = f"{'max' if cpus is None else cpus * 100000} 100000"
        else:
            files[f"memory/{at}/memory.limit_in_bytes"] = limit * GIB if limit else UNLIMITED
            files[f"memory/{at}/memory.usage_in_bytes"] = used * GIB
            files[f"cpu/{at}/cpu.cfs_quota_us"] = cpus * 100000 if cpus else -1
            files[f"cpu/{at}/cpu.cfs_period_us"] = 100000
    tree(own, files)
    found = [(limit, left) for limit, left in cgroup.memory_bytes() if limit < 2**60]
    known = [(limit, used) for limit, used, _ in groups if limit is not None]
    assert min((limit for limit, _ in found), default=None) == min(
        (limit * GIB for limit, _ in known), default=None
    )
    assert min((left for _, left in found), default=None) == min(
        (max(0, limit - used) * GIB for limit, used in known), default=None
    )
    assert cgroup.cpus() == min((cpus for *_, cpus in groups if cpus), default=None)
