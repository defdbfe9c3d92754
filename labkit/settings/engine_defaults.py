"""The choices behind `labkit.configure`: each argument's value on this machine, and why."""

from __future__ import annotations

import math
import os

from labkit.hardware import machine as machines
from labkit.hardware.nvidia import GPU
from labkit.settings import memory_fit
from labkit.settings.setting import SettingsBuilder, check_counts
from labkit.weights import catalogue as models
from labkit.weights.chat_template import without_double_bos

#: CPUs that Ray reserves for a light stage (chat template, tokenize, detokenize, finish): each
#: is idle most of the time, and a whole CPU for each would leave none for the engine.
STAGE_CPUS = 0.1
#: An environment variable of a worker that names what Ray calls in it first: how Ray itself hands
#: over the `worker_process_setup_hook` of a whole job (`ray/_private/runtime_env/setup_hook.py`).
WORKER_SETUP = {
    "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR": "labkit.engines.fork_server.start_in_worker"
}
#: Rows decoded at once on a GPU, where its memory allows.
GPU_ROWS = 512
#: Rows at the engine for each one that it decodes. A batch gives its places back when its slowest
#: row is done. Lesson 2's prompts, of very different lengths, on 2 CPU cores: 255 output tokens/s
#: (251 to 258) with 2, 216 (216 to 217) with 1 (the command is in docs/gpu.md). Rows of equal
#: length gain nothing. Ray's own default is 1.1.
QUEUE = 2
SATURATES = "SmolLM2 on an H100 was fastest with so many (datasets/recordings)"


def cpu_engine(
    choose: SettingsBuilder,
    machine: machines.Machine,
    model: models.Model,
    replicas: int,
    parallel: int,
) -> None:
    """The engine's arguments on CPU cores."""
    engines = replicas * parallel
    threads, why_threads = _threads(machine, model, engines)
    kv_gib = int(min(4, max(1, machine.available_gib / 8)))
    if machine.bfloat16:
        dtype, why = "bfloat16", "half the memory of float32"
    else:
        dtype, why = "float32", "these cores have no instructions for bfloat16: it would crawl"
    dtype = choose("vllm", "dtype", dtype, why)
    choose("vllm", "enforce_eager", True, "no compilation: it costs minutes on a CPU")
    seqs = 64 if machine.cores <= 8 else 256
    choose("vllm", "max_num_seqs", seqs, "rows decoded at once; beyond it CPU cores gain nothing")
    choose("vllm", "max_num_batched_tokens", 2048, "tokens a step: short steps keep decoding going")
    why = "tokens in a block of the KV cache: vLLM's 128 leave short prompts no block to share"
    choose("vllm", "block_size", 32, why)
    length = min(model.context or 2048, 2048)
    choose("vllm", "max_model_len", length, "prompt + answer; longer rows need more KV cache")
    choose("vllm", "tensor_parallel_size", parallel, "engine processes that share the weights")
    _load_format(choose)
    why = "GiB of memory for the KV cache"
    kv = choose("environment", "VLLM_CPU_KVCACHE_SPACE", str(kv_gib), why, measured=True)
    memory_fit.require_on_cpu(model, machine, float(kv), replicas, parallel, dtype)
    choose("environment", "VLLM_CPU_OMP_THREADS_BIND", "nobind", "replicas share the cores freely")
    choose("environment", "OMP_NUM_THREADS", str(threads), why_threads)
    choose(
        "environment", "VLLM_ENABLE_V1_MULTIPROCESSING", "0", "one process fewer to start (10 s)"
    )
    _quiet_environment(choose, model)
    # Two CPUs of Ray's count stay free for reading and the light stages.
    bundle = {"CPU": float(max(1, (machine.cores - 2) // engines))}
    choose(
        "ray",
        "placement_group_config",
        {"bundles": [bundle] * parallel},
        "no GPU: without this Ray waits for one for ever",
    )


#: GiB of weights up to which one thread computes a step: several would wait for each other longer
#: than they compute. The tiny model of the tests has 0.001, SmolLM2-135M 0.25: chosen between them.
#: 500 rows of the tiny model on 2 cores busy with other work, one run each: 1.4 s with one thread,
#: 13.8 s with two.
ONE_THREAD_GIB = 0.02


def _threads(machine: machines.Machine, model: models.Model, engines: int) -> tuple[int, str]:
    """(threads of an engine on CPU cores, reason)."""
    if model.weights_gib is not None and model.weights_gib <= ONE_THREAD_GIB:
        return 1, "a model so small: threads would wait for each other"
    return max(1, machine.cores // engines), f"{machine.cores} cores / engines"


#: Threads of an engine's process beside a GPU, and of its tokenizer's, at most: chosen, not
#: measured. With a thread for each core in each process 32 engines on 64 cores had 3,520 rows/s,
#: with their share 12,228 (docs/gpu.md, "Threads").
MOST_THREADS = 4


def gpu_engine(
    choose: SettingsBuilder,
    machine: machines.Machine,
    model: models.Model,
    replicas: int,
    parallel: int,
    gpu_share: float,
) -> None:
    """The engine's arguments on NVIDIA GPUs; the card with the least free memory decides, and on
    the type of its numbers the oldest."""
    card = min(machine.gpus, key=lambda gpu: gpu.free_gib)
    oldest = min(machine.gpus, key=lambda gpu: gpu.compute_capability)
    why = f"{oldest.name}, compute capability {'.'.join(map(str, oldest.compute_capability))}"
    why += "" if oldest.bfloat16 else ": no bfloat16 before 8.0"
    dtype = choose("vllm", "dtype", "bfloat16" if oldest.bfloat16 else "float16", why)
    tokens, why = _tokens_a_step(card)
    tokens = choose("vllm", "max_num_batched_tokens", tokens, why)
    share, why = memory_fit.share_of(card)
    if gpu_share < 1:
        share, why = share * gpu_share, f"{gpu_share:g} of the card, for weights and KV cache"
    computed = "gpu_memory_utilization" not in choose.overrides["vllm"]
    share = choose("vllm", "gpu_memory_utilization", round(share, 3), why, measured=True)
    longest = min(model.context or 4096, 4096)
    needs = memory_fit.need(model, parallel, tokens, GPU_ROWS, dtype)
    known = needs is not None and not math.isnan(card.memory_gib)
    if "quantization" in choose.overrides["vllm"] or not known:
        rows, why = GPU_ROWS, SATURATES
        length, long_why = longest, "prompt + answer; the model's size is not known"
    else:
        assert needs is not None
        rest = needs.kv_tokens(share * card.memory_gib)
        length = memory_fit.length_that_fits(model, needs, card, share, longest)
        if gpu_share < 1:
            # vLLM measures what a step leaves of the card, and counts the others' memory in (see
            # its `Worker.determine_available_memory`): engines that start together would fail.
            cache = int(rest * needs.token * machines.GIB)
            why = "what the share leaves: engines that start together on a card can't measure it"
            choose("vllm", "kv_cache_memory_bytes", cache, why, measured=True)
        long_why = "prompt + answer; longer rows need more KV cache"
        if length < longest:
            long_why = f"all that {rest:,} tokens of KV cache hold of a row"
        usual = min(memory_fit.ROW_TOKENS, length)
        rows, why = min(GPU_ROWS, max(1, rest // usual)), SATURATES
        if rows < GPU_ROWS:
            why = f"{rest:,} tokens of KV cache hold so many rows of {usual}"
    choose("vllm", "max_num_seqs", rows, why, measured=computed)
    choose("vllm", "max_model_len", length, long_why, measured=computed)
    choose("vllm", "tensor_parallel_size", parallel, "GPUs that share one copy of the weights")
    _load_format(choose)
    _quiet_environment(choose, model)
    threads = max(1, min(MOST_THREADS, machine.cores // (2 * replicas * parallel)))
    why = "each engine's share of the cores: by default each process takes all of them"
    for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):  # PyTorch's; the tokenizer's
        choose("environment", name, str(threads), why)
    if computed:
        # vLLM finds a plan by nearly all settings, but not by this one: it would overrule yours.
        why = "what it measures of the card's memory is kept: the next start need not measure again"
        choose("environment", "VLLM_ENABLE_STARTUP_PLAN", "1", why)
    bundle = {"CPU": 1.0, "GPU": gpu_share}
    why = "one bundle for each GPU" if gpu_share == 1 else "several replicas on one card"
    choose("ray", "placement_group_config", {"bundles": [bundle] * parallel}, why)


def _tokens_a_step(card: GPU) -> tuple[int, str]:
    """(max_num_batched_tokens, reason). vLLM's own numbers for offline work, but for small cards;
    for the A100 see https://github.com/vllm-project/vllm/pull/17885."""
    if card.memory_gib >= 70 and "A100" not in card.name:
        return 16384, "tokens a step; vLLM's own offline default for such a card"
    if card.memory_gib >= 20:
        return 8192, "tokens a step; vLLM's own offline default for such a card"
    return 2048, "tokens a step: its working memory would take the KV cache's place"


def _load_format(choose: SettingsBuilder) -> None:
    if given := os.environ.get("LABKIT_LOAD_FORMAT"):
        choose("vllm", "load_format", given, "the environment variable LABKIT_LOAD_FORMAT")


def _quiet_environment(choose: SettingsBuilder, model: models.Model) -> None:
    choose("environment", "VLLM_NO_USAGE_STATS", "1", "no telemetry")
    if model.is_local:
        choose("environment", "HF_HUB_OFFLINE", "1", "local weights: no look-up in the hub")


def ray_fields(
    choose: SettingsBuilder,
    model: models.Model,
    on_gpu: bool,
    batch_size: int | None,
    max_concurrent_batches: int | None,
    replicas: int,
) -> None:
    """The fields of `vLLMEngineProcessorConfig`: delivery, replicas, the light stages."""
    seqs = next(s.value for s in choose.settings if s.name == "max_num_seqs")
    pending = choose(
        "ray",
        "max_pending_requests",
        QUEUE * seqs,
        f"{QUEUE} × max_num_seqs: the next rows wait at the engine while batches come and go",
    )
    yours = "set by you"
    size = batch_size or (64 if on_gpu else 16)
    why = yours if batch_size else "small enough for a short tail"
    size = choose("ray", "batch_size", size, why)
    check_counts({"batch_size": size})
    batches = max_concurrent_batches or math.ceil(pending / size)
    choose(
        "ray",
        "max_concurrent_batches",
        batches,
        yours if max_concurrent_batches else "enough batches for max_pending_requests",
    )
    choose("ray", "concurrency", (replicas, replicas), "replicas, fixed: no autoscaling")
    choose("ray", "model_source", model.source, model.why)
    choose("ray", "should_continue_on_error", True, "a bad row comes back with its reason")
    template = {"num_cpus": STAGE_CPUS}
    if fixed := without_double_bos(model.source):
        template["chat_template"] = fixed  # type: ignore[assignment]
    choose("ray", "chat_template_stage", template, "messages → prompt, in a process of its own")
    text = {"num_cpus": STAGE_CPUS} if on_gpu else False
    why = (
        "keeps the engine's process free for the GPU"
        if on_gpu
        else "the engine does it: fewer processes for few cores"
    )
    choose("ray", "tokenize_stage", text, why)
    choose("ray", "detokenize_stage", text, why)
    choose("ray", "log_engine_metrics", False, "the lab computes its metrics from the rows")
