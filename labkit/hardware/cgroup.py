"""What this process's own control groups allow: memory and CPUs, by systemd, Slurm or a container.

A group's limit counts for all groups below it, so each from the process's own up to the top is
looked at, in both versions (https://docs.kernel.org/admin-guide/cgroup-v2.html, …/cgroup-v1/).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

#: Where the groups are, by convention, and the names of this process's own.
TOP, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""


def _number(path: Path) -> int | None:
    """The number in a file; None where there is none: no such file, 'max', or -1."""
    text = _read(path).strip()
    return int(text) if text.isdecimal() else None


def _groups(controller: str) -> Iterator[Path]:
    """The folders of this process's groups, and of those around them up to the top.

    A container often shows its own group as the top: then only that one is there to be read.
    """
    lines = [line.split(":", 2) for line in _read(OWN).splitlines()]
    for _, names, path in [line for line in lines if len(line) == 3] or [["", "", "/"]]:
        if names and controller not in names.split(","):
            continue
        tops = {TOP / controller, TOP / names} if names else {TOP, TOP / "unified"}
        # '/../x': a group beside those that a namespace shows.
        own = PurePosixPath("" if ".." in path else path.lstrip("/"))
        yield from (top / part for top in tops for part in (own, *own.parents))


def memory_bytes() -> list[tuple[int, int]]:
    """(limit, what is left of it) of every group that has a limit.

    What the kernel keeps of files counts as left: it is given back when memory is short, as in
    MemAvailable of /proc/meminfo. `memory.high` is a limit, too: above it a process crawls.
    """
    found = []
    for group in _groups("memory"):
        limits = ("memory.max", "memory.high", "memory.limit_in_bytes")
        known = [n for name in limits if (n := _number(group / name)) is not None]
        if not known:
            continue
        files = ("memory.current", "memory.usage_in_bytes")
        used = next((n for name in files if (n := _number(group / name)) is not None), 0)
        lines = (line.split() for line in _read(group / "memory.stat").splitlines())
        stat = {line[0].removeprefix("total_"): int(line[1]) for line in lines if len(line) == 2}
        kept = stat.get("inactive_file", 0) + stat.get("active_file", 0)
        found.append((min(known), max(0, min(known) - max(0, used - kept))))
    return found


def cpus() -> float | None:
    """CPUs that the strictest quota allows, such as 2.5; None without one."""
    found = []
    for group in _groups("cpu"):
        text = _read(group / "cpu.max").split()
        quota = text or [_read(group / f"cpu.cfs_{n}_us").strip() for n in ("quota", "period")]
        if len(quota) == 2 and all(n.isdecimal() for n in quota) and int(quota[1]):
            found.append(int(quota[0]) / int(quota[1]))
    return min(found, default=None)
