"""The arithmetic of the benchmarks, and what docs/gpu.md says of their recorded results."""

import json
import math
import os
import statistics
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks import bind_cores, cards, classroom, plan, replicas, short_rows
from benchmarks.parity import LAB, PLAIN, compare
from benchmarks.phases import facts, phases
from labkit.results.job_estimate import DRIFT
from labkit.results.recordings import FOLDER

DOCS = Path(__file__).parent.parent / "docs"
PAGE, CLASS_PAGE = ((DOCS / name).read_text() for name in ("gpu.md", "classroom.md"))
PARITY = sorted(FOLDER.glob("*-parity.json"))
RATES = ("rows_per_s", "rows_per_s_engines")
REPLICAS = sorted(FOLDER.glob("*-replicas.json"))


def start(seconds: float, **rates: list[int]) -> dict:
    return {
        "startup_s": seconds,
        "output_tokens_per_s": {k.strip("_"): v for k, v in rates.items()},
    }


def test_ratios_are_of_medians_with_the_widest_spread() -> None:
    found = compare(
        {
            PLAIN: [start(90, _=[100, 200]), start(45, _=[100, 90])],
            LAB: [start(99, _=[50, 150], _8=[300, 300]), start(54, _=[100, 110], _8=[100, 300])],
        }
    )
    assert found["throughput_ratio_lowest_median_highest"] == {
        "": [0.25, 1.05, 1.667],
        "8": [0.5, 3.0, 3.333],
    }
    assert found["startup_s"] == {PLAIN: [90, 45], LAB: [99, 54]}
    assert found["startup_ratio"] == [1.1, 1.2]  # round by round


def test_phases_add_up_to_the_startup() -> None:
    began = time.mktime((2026, 11, 24, 10, 0, 0, 0, 0, -1))
    log = [
        "INFO 11-24 10:00:02 [model.py:7] Resolved architecture: LlamaForCausalLM",
        "(EngineCore pid=7) INFO 11-24 10:00:09 [core.py:1] Initializing a V1 LLM engine (v0.29.0)",
        "INFO 11-24 09:59:00 [core.py:1] Model loading took 9 GiB memory and 9 seconds",
        "INFO 11-24 10:00:14 [model_runner.py:4] Model loading took 1 GiB memory and 2 seconds",
        "INFO 11-24 10:00:20 [monitor.py:5] torch.compile took 5 s in total",
        "INFO 11-24 10:00:24 [runner.py:9] Graph capturing finished in 3 secs, took 0.61 GiB",
        "INFO 11-24 10:00:26 [gpu_worker.py:6] Available KV cache memory: 53.16 GiB",
        "INFO 11-24 10:00:33 [runner.py:9] Graph capturing finished in 6 secs, took 0.45 GiB",
    ]
    found = phases(log, began, began + 34.5)
    assert found == {
        "imports of vLLM and of Ray's workers": 2.0,
        "configuration, the engine's own process": 7.0,
        "weights": 5.0,
        "compilation": 6.0,
        "memory profile": 6.0,  # which captures graphs of its own
        "graph capture": 7.0,
        "until the first row": 1.5,
    }
    assert "torch.compile took 5 s in total" in facts(log)


def spread(low: float, middle: float, high: float) -> str:
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def column(name: str) -> dict[str, str]:
    """The first table of docs/gpu.md with that column: first cell → cell of that column."""
    lines = PAGE.splitlines()
    top = next(n for n, line in enumerate(lines) if f"| {name} |" in line)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[top:]]
    at = rows[0].index(name)
    table = rows[2 : next(n for n, row in enumerate(rows) if not row)]
    return {row[0]: row[at] for row in table}


@pytest.mark.parametrize("file", PARITY, ids=lambda file: file.stem)
def test_recorded_ratios_follow_from_their_runs_and_stand_on_the_page(file: Path) -> None:
    found = json.loads(file.read_text())
    assert compare(found["starts"]).items() <= found.items()
    assert {"made", "command", "device", "versions", "settings"} <= set(found)
    model = "SmolLM2" if "smollm2" in file.name else "8B shape"
    model += ", H200" if file.name.startswith("h200") else ""
    shown = column(f"{model}: throughput")
    for limit, ratios in found["throughput_ratio_lowest_median_highest"].items():
        assert shown[f"{int(limit or found['rows_in_flight']):,}"] == spread(*ratios)
    for number, ratio in enumerate(found["startup_ratio"]):
        for side, name in ((PLAIN, "vLLM"), (LAB, "labkit")):
            phases = found["starts"][side][number]["phases_s"]
            shown = column(f"{model}{', later' if number else ''}: {name}")
            seconds = {name: float(cell) for name, cell in shown.items() if "/" not in name}
            assert seconds.pop("all") == found["startup_s"][side][number]
            assert sum(seconds.values()) == pytest.approx(sum(phases.values()))
            assert seconds["weights"] == phases["weights"]
            assert seconds["compilation"] == phases["compilation"]
            assert seconds["until the first row"] == phases["until the first row"]
        assert shown["labkit / vLLM"] == f"{ratio:.2f}"


@pytest.mark.parametrize("file", REPLICAS, ids=lambda file: file.stem)
def test_recorded_replicas_follow_from_their_runs_and_stand_on_the_page(file: Path) -> None:
    found = json.loads(file.read_text())
    assert replicas.compare(found["rows_per_s"]) == found["ratios"]
    assert {"made", "command", "device", "versions"} <= set(found)
    for ratios in found["ratios"].values():
        assert spread(*ratios) in PAGE


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*-short-rows.json")), ids=lambda f: f.stem)
def test_recorded_short_rows_follow_from_their_runs_and_stand_on_the_page(file: Path) -> None:
    found = json.loads(file.read_text())
    assert {"made", "command", "device", "versions"} <= set(found)
    assert found["ratios"] == short_rows.ratios(found["rounds"])
    for low, middle, high in found["ratios"].values():
        assert (spread(low, middle, high) if low < high else f"{middle:.2f}") in PAGE


def test_the_table_of_cards_is_that_of_its_file() -> None:
    found = json.loads((FOLDER / "h200-smollm2-135m-cards.json").read_text())
    for run in found["runs"]:
        rates = " and ".join(f"{job['rows_per_s']:,.0f}" for job in run["jobs"])
        rows = [row for row in PAGE.splitlines() if f"| {rates} |" in row]
        (cells,) = [row.strip("| ").split(" | ") for row in rows]
        cards, engines, cores, _, _, driver = cells
        first = run["jobs"][0]
        assert (int(cards), int(cores)) == (run["cards"], run["host_cores"])
        assert engines.startswith(f"{first['engines']}")
        assert float(driver) == round(first.get("driver") or first["cores"]["this program"], 2)


def test_the_table_of_streamed_rows_is_that_of_its_file() -> None:
    found = json.loads((FOLDER / "h200-smollm2-135m-write.json").read_text())
    ran, wrote = found["jobs"]
    for job in (ran, wrote):
        rates = f"| {job['rows_per_s']:,.0f} | {job['rows_per_s_engines']:,.0f} |"
        rates += f" {job['mean_rows_in_flight']:,} | {job['driver_cores']:.2f} |"
        assert rates in PAGE and job["rows"] == 168_000
    call, span = (wrote[name] / ran[name] for name in ("rows_per_s", "rows_per_s_engines"))
    assert f"({span:.2f} over" in PAGE and f"is not ({call:.2f})" in PAGE
    steps = found["steps"]
    ids, workers, first, *_ = steps.values()
    assert f"{first:.1f} s of {steps['done']:.1f} pass" in PAGE
    assert f"took {ids:.1f} s of" in PAGE and f"{first - workers:.1f} s (the" in PAGE


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*-class*.json")), ids=lambda f: f.stem)
def test_recorded_classes_follow_from_their_curves(file: Path) -> None:
    found, page = json.loads(file.read_text()), CLASS_PAGE
    assert found["points"] == classroom.points(found["alone"], list(found["learners"].values()))
    assert f"`{file.name}`" in page
    for point in found["points"].values():
        assert f"{point['class'][1]:,.0f} and {point['alone'][1]:,.0f} at" in page


def test_the_ratio_of_cards_with_long_rows_is_that_of_its_file() -> None:
    found = json.loads((FOLDER / "h200-llama-3.1-8b-shape-cards.json").read_text())
    assert found["ratio"] == cards.ratio(found["one card"], found["all cards"])
    low, middle, high = found["ratio"]
    assert f"{middle:.2f} times ({low:.2f} to {high:.2f})" in PAGE
    rates = [f"{job['rows_per_s']:.0f}" for job in found["one card"] + found["all cards"]]
    assert "{} and {} rows/s with one card, {} and {} with four".format(*rates) in PAGE


def test_one_program_on_four_cards_is_held_against_four_programs() -> None:
    runs = json.loads((FOLDER / "h100-smollm2-135m-cards.json").read_text())["runs"]
    one, every, *four = [run["jobs"] for run in runs]
    assert len(four) == 4
    for at, (way, round_) in enumerate((w, r) for r in range(3) for w in ("run", "write")):
        columns = [[jobs[at]] for jobs in (one, every) if at < len(jobs)]
        columns.append([jobs[at] for jobs in four])
        assert {job["way"] for column in columns for job in column} == {way}
        sums = [[sum(job[k] for job in c) for k in RATES] for c in columns]
        shown = [f"{call:,.0f} ({engines:,.0f})" for call, engines in sums]
        name = ("first", "second", "third")[round_]
        assert f"| `{way}`, {name} | {' | '.join([*['–'] * (3 - len(shown)), *shown])} |" in PAGE
    for way in ("run", "write"):
        some = [[job for job in jobs if job["way"] == way] for jobs in (one, every)]
        low, middle, high = cards.ratio(*some)
        assert f"{middle:.2f} " in PAGE and f"({low:.2f} to {high:.2f})" in PAGE


def test_two_cards_bound_or_not_are_held_against_one_and_two_programs() -> None:
    found = json.loads((FOLDER / "h200-smollm2-135m-two-cards.json").read_text())
    one, both, *two = [run["jobs"] for run in found["runs"]]
    bound = [job for job in both if job["bound_processes"]]
    free = [job for job in both if not job["bound_processes"]]
    rows = [
        ("one card, 16 cores, nothing beside it", one),
        ("both cards, one program", free),
        ("the same, each engine bound to its card's 16 cores", bound),
    ]
    for name, jobs in rows:
        rates = ", ".join(f"{job['rows_per_s']:,.0f}" for job in jobs)
        ratio = spread(*cards.ratio(one, jobs)) if jobs is not one else "1"
        assert f"| {name} | {rates} | {ratio} |" in PAGE
    each = zip(*two, strict=True)
    sums = [{"rows_per_s": sum(job["rows_per_s"] for job in jobs)} for jobs in each]
    rates = ", ".join(f"{job['rows_per_s']:,.0f}" for job in sums)
    ratio = spread(*cards.ratio(one, sums))
    assert f"a card and 16 cores each: their sum | {rates} | {ratio} |" in PAGE
    busy = [job["card_busy"] for run in found["runs"] for job in run["jobs"]]
    assert f"all jobs of that table, had {100 * min(busy):.0f} to {max(busy):.0%}" in PAGE


@pytest.mark.parametrize("model", ["smollm2-135m", "llama-3.1-8b-shape"])
def test_how_long_cards_were_at_work_is_told_as_it_was_recorded(model: str) -> None:
    found = json.loads((FOLDER / f"h200-{model}-plan.json").read_text())
    name = "SmolLM2" if "smollm2" in model else "8B shape"
    kinds = {"faq": "64 tokens a row", "sentiment": "a label a row"}
    for case in found["cases"]:
        busy = [one["card_busy"] for one in case["trials"]]
        words = f"{min(busy):.0%} to {max(busy):.0%}".replace("% to", " to")
        (engines,) = {one["engines"] for one in case["trials"]}
        assert f"| {name}, {kinds[case['task']]} | {engines} | {words} |" in PAGE


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*-plan.json")), ids=lambda file: file.name)
def test_recorded_plans_are_counted_as_they_are(file: Path) -> None:
    found = json.loads(file.read_text())
    trials = [one for case in found["cases"] for one in case["trials"]]
    assert found["summary"] == plan.summary(trials)


def test_the_allowance_for_drift_holds_the_recorded_jobs() -> None:
    """As README says. Plans that do not tell theirs were made with 0.08."""
    held, widths = dict[bool, list[bool]]({True: [], False: []}), []
    for file in FOLDER.glob("*-plan.json"):
        for case in json.loads(file.read_text())["cases"]:
            was = case.get("drift", 0.08)
            for one in case["trials"]:
                value, half = one["planned_s"], (one["highest_s"] - one["lowest_s"]) / 2
                half = math.sqrt(max(0.0, half**2 - (was * value) ** 2) + (DRIFT * value) ** 2)
                held["drift" in case].append(abs(one["job_s"] - value) <= half)
                widths.append(half / value)
    readme = (DOCS.parent / "README.md").read_text()
    before, after = held[False], held[True]
    assert f"Of {len(before + after)} plans that were held against their jobs" in readme
    assert f"the intervals hold {sum(before + after)}: {sum(before)} of {len(before)}" in readme
    assert f"and {sum(after)} of {len(after)} after that" in readme
    assert f"half of one is {statistics.median(widths):.0%} of its value" in readme


def test_a_card_has_a_share_of_the_cores_and_all_threads_of_a_process_are_bound() -> None:
    shares = [bind_cores.share(range(64), 4, card) for card in range(4)]
    assert [len(one) for one in shares] == [16] * 4 and shares[1] == list(range(16, 32))
    assert sorted(core for one in shares for core in one) == list(range(64))
    cores = sorted(os.sched_getaffinity(0))
    with subprocess.Popen(["sleep", "60"]) as program:
        bind_cores.set_threads(program.pid, cores[:1])
        assert os.sched_getaffinity(program.pid) == set(cores[:1])
        program.kill()


def test_the_search_on_long_rows_found_as_much_as_is_known() -> None:
    found = json.loads((FOLDER / "h200-llama-3.1-8b-shape-tuning.json").read_text())
    best, known = (
        max(statistics.median(point["rows_per_s"]) for point in points)
        for points in (found["trials"], found["known"]["points"])
    )
    assert best >= 0.95 * known
    assert f"{best:.1f} rows/s" in PAGE and f"{known:.1f}" in PAGE


def test_all_cards_are_compared_with_one() -> None:
    few, many = ([{"rows_per_s": rate} for rate in rates] for rates in ((10, 20), (60, 30, 45)))
    assert cards.ratio(few, many) == [1.5, 3.0, 6.0]


def test_kinds_of_engines_are_read_and_compared_with_one() -> None:
    assert replicas.counts("2x1") == (2, 1)
    with pytest.raises(ValueError):
        replicas.counts("2")
    found = replicas.compare({"1x1": [10, 20, 12], "2x1": [20, 24, 30], "1x2": [12, 6, 18]})
    assert found == {"2x1": [1.0, 2.0, 3.0], "1x2": [0.3, 1.0, 1.8]}


def test_plans_are_counted_against_their_jobs() -> None:
    tried = [
        {"planned_s": 10, "lowest_s": 8, "highest_s": 12, "job_s": job_s} for job_s in (8, 12, 12.1)
    ]
    assert [plan.held(one) for one in tried] == [True, True, False]
    found = plan.summary([*tried, {**tried[0], "highest_s": 16}])
    assert (found["trials"], found["held"]) == (4, 3)
    assert (found["half_width_median"], found["half_width_widest"]) == (0.2, 0.4)
    assert (found["error_lowest"], found["error_highest"]) == (-0.2, 0.21)


@pytest.mark.parametrize("task", ["sentiment", "faq"])
def test_no_two_rows_of_a_plan_s_job_are_alike(task: str) -> None:
    (column,) = plan.rows_of(task, 0, 1).columns
    first, second = (plan.rows_of(task, at, 3000)[column].tolist() for at in (0, 3000))
    assert len({*first, *second}) == 6000


def test_there_are_results_of_a_gpu() -> None:
    assert (len(PARITY), len(REPLICAS)) == (3, 1)
