"""What a warm engine is made of: when another one is needed, and the actors of a replica."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.engines.engine_actor import DATA
from labkit.settings.redaction import shown

if TYPE_CHECKING:
    from labkit.settings.processor_spec import ProcessorSpec

#: Arguments that only say how rows are handed over: changing them needs no other engine.
KNOBS = ("batch_size", "max_concurrent_batches", "max_pending_requests")


def identity(spec: ProcessorSpec) -> dict[str, Any]:
    """What makes two specs need different engines: every argument but the KNOBS, and the model."""
    fixed = {s.name: s.value for s in spec.settings if s.name not in KNOBS}
    return {"model": spec.model.source, "replicas": spec.replicas, **fixed}


def changes(before: ProcessorSpec, after: ProcessorSpec) -> list[str]:
    """Why `after` can't run on the engine of `before`, such as 'max_num_seqs 64 → 16'."""
    old, new = identity(before), identity(after)
    return [
        f"{name} {shown(name, old.get(name, 'unset'))} → {shown(name, new.get(name, 'unset'))}"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]


#: A stage's class with its arguments; the actors of a replica: their stages, Ray's options, and
#: what makes their placement group (None: they need none).
Part = tuple[type, dict[str, Any]]
Planned = tuple[list[Part], dict[str, Any], Any]


def replica(spec: ProcessorSpec) -> list[Planned]:
    """The actors of a replica, in the order of the stages.

    Where Ray tokenizes, the stages of text before and after the engine have actors of their own,
    as in a cold job: the engine's process then only feeds the engine.
    """
    found: list[Planned] = []
    own = bool(spec["tokenize_stage"])
    after_engine = False
    for stage in spec.unchecked(lambda row: row).stages.values():
        asked = stage.get_dataset_map_batches_kwargs(spec["batch_size"], DATA)
        part: Part = (stage.fn, asked["fn_constructor_kwargs"])
        names = ("num_cpus", "num_gpus", "resources", "runtime_env")
        options = {name: asked[name] for name in names if asked.get(name) is not None}
        if kind := asked.get("accelerator_type"):
            options["accelerator_type"] = kind
        groups = asked.get("ray_remote_args_fn")
        is_engine = "engine_kwargs" in part[1]
        if found and not (own and (is_engine or after_engine)):
            parts, before, groups_before = found.pop()
            if not is_engine:
                options, groups = before, groups_before
            found.append(([*parts, part], options, groups))
        else:
            found.append(([part], options, groups))
        after_engine = is_engine
    return found


def ahead(spec: ProcessorSpec) -> dict[str, Any] | None:
    """Ray's options of an engine's actor, as `replica` will find them, without the seconds of
    imports that Ray needs to tell them; None where they are not as simple as that."""
    bundles = (spec["placement_group_config"] or {}).get("bundles", [])
    if spec.tensor_parallel > 1 or len(bundles) != 1 or not set(bundles[0]) <= {"CPU", "GPU"}:
        return None
    own = {s.name for s in spec.settings if s.layer in ("ray", "vllm")}
    if own & {"accelerator_type", "runtime_env", "distributed_executor_backend"}:
        return None
    counts = {f"num_{name.lower()}s": amount for name, amount in bundles[0].items() if amount}
    return {**counts, "runtime_env": spec.runtime_env}
