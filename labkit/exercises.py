"""Exercises that check themselves: what a job, a spec or a choice must hold, never the model's
words, unless they are the learner's own goal on the learner's own machine.

Left untouched (`answer = None`) an exercise says so and passes over; a wrong answer gets a hint,
and an option that is wrong gets its own reason. Any right answer is right: other settings that
reach the goal, and numbers of any type.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from numbers import Integral, Real
from typing import Any, ParamSpec

from labkit import scheduling
from labkit.errors import LabError
from labkit.results.class_work import work
from labkit.results.job import Job
from labkit.results.sweep_point import Point
from labkit.results.sweep_result import RATE, Sweep
from labkit.settings.processor_spec import ProcessorSpec
from labkit.tasks import LABELS

OPEN, RIGHT, WRONG = "open", "right", "not yet"
P = ParamSpec("P")


@dataclass(frozen=True)
class Verdict:
    """What an exercise says of an answer: `state` is 'open', 'right' or 'not yet'. options: of a
    question that is still open, by letter."""

    state: str
    text: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        mark = {OPEN: "○", RIGHT: "✔", WRONG: "✘"}[self.state]
        lines = [f"{mark} {self.state}: {self.text}"]
        return "\n".join([*lines, *(f"  {key}) {words}" for key, words in self.options.items())])

    def _repr_html_(self) -> str:
        color = {OPEN: "#555555", RIGHT: "#1a7f37", WRONG: "#b3261e"}[self.state]
        first, *options = repr(self).splitlines()
        rows = "".join(f"<li style='list-style: none'>{escape(line)}</li>" for line in options)
        listed = f"<ul>{rows}</ul>" if rows else ""
        return f'<p style="color:{color};font-weight:600">{escape(first)}</p>{listed}'


def noted(check: Callable[P, Verdict]) -> Callable[P, Verdict]:
    """A check whose verdicts are noted, for `labkit.hand_in`."""

    @functools.wraps(check)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Verdict:
        verdict = check(*args, **kwargs)
        work.note_exercise(check.__name__, verdict.state)
        return verdict

    return wrapped


def _open(answer: Any) -> Verdict | None:
    return (
        Verdict(OPEN, "replace None with your answer and run the cell") if answer is None else None
    )


def _close(answer: Any, expected: float, hint: str, done: str, within: float = 0.02) -> Verdict:
    if untouched := _open(answer):
        return untouched
    if isinstance(answer, bool) or not isinstance(answer, Real):  # NumPy's numbers are Real, too
        return Verdict(WRONG, f"a number is wanted, not {type(answer).__name__}")
    if abs(float(answer) - expected) <= within * abs(expected):
        return Verdict(RIGHT, done)
    return Verdict(WRONG, hint)


@dataclass(frozen=True)
class Question:
    """Options by letter, each with what to say to whoever chooses it; one of them is right."""

    name: str
    options: Mapping[str, str]
    replies: Mapping[str, str]
    right: str

    def __call__(self, answer: str | None = None) -> Verdict:
        """The verdict on a letter; untouched, the options."""
        verdict = self._verdict(answer)
        work.note_exercise(self.name, verdict.state)
        return verdict

    def _verdict(self, answer: str | None) -> Verdict:
        if answer is None:
            return Verdict(OPEN, "replace None with a letter, such as 'a'", self.options)
        letter = str(answer).strip().strip(")").lower()
        if letter not in self.options:
            return Verdict(WRONG, f"choose one of {', '.join(self.options)}", self.options)
        return Verdict(RIGHT if letter == self.right else WRONG, self.replies[letter])


def _question(name: str, right: str, *options: tuple[str, str]) -> Question:
    letters = "abcdefgh"[: len(options)]
    words = {letter: option for letter, (option, _) in zip(letters, options, strict=True)}
    replies = {letter: reply for letter, (_, reply) in zip(letters, options, strict=True)}
    return Question(name, words, replies, right)


def _job(answer: Any) -> Verdict | None:
    if untouched := _open(answer):
        return untouched
    if not isinstance(answer, Job):
        said = f"a job is wanted (labkit.run(…)), not {type(answer).__name__}"
        return Verdict(WRONG, said)
    return None


# --- lesson 1 ------------------------------------------------------------------------------------

#: Where a pipeline is changed so that it answers in French.
in_french = _question(
    "in_french",
    "b",
    ("the dataset", "the rows are the questions: they stay as they are"),
    ("preprocess", "it makes the messages, and a message can say: answer in French"),
    ("the config", "it says which engine runs, with what; not what it is asked"),
    ("postprocess", "it sees the answer when it is written: too late, unless it translates"),
)

#: Which job gains most from decoding many rows together.
who_gains_most = _question(
    "who_gains_most",
    "b",
    ("long prompts, answers of one word", "no: nearly all of it is prefill, which shares little"),
    (
        "short prompts, long answers",
        "yes: nearly all of it is decode, and each step reads the weights once for all rows",
    ),
    ("long prompts, long answers", "it gains in decode, but long prompts must be read, row by row"),
    ("all the same", "no: decode gains much, prefill little; how much of each has a job?"),
)

#: Why many rows in flight have not as many times the throughput.
why_not_perfect = _question(
    "why_not_perfect",
    "c",
    ("each row needs the weights read for itself", "no: one reading serves all rows of a step"),
    ("Ray hands over one row at a time", "no: whole batches, as many at once as you allow"),
    (
        "prompts must be read, and each step multiplies for every row",
        "yes: reading the weights is shared; the arithmetic of each prompt and each row is not",
    ),
    ("the model gets worse with many rows", "no: every row gets the answer of its own prompt"),
)


@noted
def rows_in_flight(
    answer: ProcessorSpec | None, wanted: int = 32, largest_batch: int = 8
) -> Verdict:
    """A spec whose limit is exactly `wanted` rows in flight, in batches of at most
    `largest_batch`."""
    if untouched := _open(answer):
        return untouched
    if not isinstance(answer, ProcessorSpec):
        return Verdict(WRONG, f"a spec is wanted (spec.with_(…)), not {type(answer).__name__}")
    if answer["batch_size"] > largest_batch:
        return Verdict(WRONG, f"batch_size is {answer['batch_size']}, above {largest_batch}")
    if answer.rows_in_flight != wanted:
        found = answer.rows_in_flight
        return Verdict(WRONG, f"{found} rows in flight: batch_size × max_concurrent_batches")
    return Verdict(RIGHT, "small batches, and as many rows in flight as you wanted")


@noted
def before_the_first_token(job: Job, answer: float | None) -> Verdict:
    """Seconds from the first row scheduled to the first token of any row (within 2%)."""
    times = job.timeline()
    return _close(
        answer,
        float(times["first_token_s"].min() - times["scheduled_s"].min()),
        "the earliest first_token_s − the earliest scheduled_s",
        "for that long nothing could be decoded: a first prompt had to be read",
    )


@noted
def rows_until_worth_it(cold: Job, job: Job, answer: float | None) -> Verdict:
    """The rows at which the engine works for 90% of startup + engine span (within 2%).

    cold: the job whose startup counts. job: the one whose rows/s count.
    """
    return _close(
        answer,
        9 * cold.metrics.startup_s * job.metrics.rows_per_s,
        "span = rows ÷ rows_per_s; ask for span = 0.9 × (startup + span), so span = 9 × startup",
        "below that many rows, you mostly pay for the start",
    )


@noted
def mean_rows_in_flight(answer: Job | None, low: float = 20, high: float = 30) -> Verdict:
    """A job, run by the learner, whose mean rows in flight lie between `low` and `high`."""
    if wrong := _job(answer):
        return wrong
    found = answer.metrics.mean_rows_in_flight  # type: ignore[union-attr]
    if low <= found <= high:
        return Verdict(RIGHT, f"{found:.0f} on average: the limit is a little above it")
    side = "too few: raise the limit" if found < low else "too many: lower the limit"
    return Verdict(WRONG, f"{found:.0f} on average, {side}, or look at the rows of the job")


# --- lesson 2 ------------------------------------------------------------------------------------

#: What can change an answer at temperature 0.
at_temperature_zero = _question(
    "at_temperature_zero",
    "b",
    ("another seed", "no: nothing is drawn, so no seed is used"),
    (
        "other rows in the same step",
        "yes: sums of floating-point numbers depend on their order, and the likeliest token may "
        "win by less than that",
    ),
    ("a smaller top_p", "no: the likeliest token is always among those that are kept"),
    ("nothing at all", "almost: the same step with other rows adds up in another order"),
)

#: Which card writes faster where one row is in flight and reading is the limit.
which_card = _question(
    "which_card",
    "a",
    (
        "one that reads its memory twice as fast",
        "yes: each step reads every weight, and here nothing takes longer than that",
    ),
    ("one that multiplies twice as fast", "no: multiplying is not what the step waits for"),
    ("one with twice the memory", "no: as many bytes are read as before, no faster"),
    ("one with a second engine on it", "no: both would share the same reading of memory"),
)

#: What comes first in a prompt, for the prefix cache.
what_comes_first = _question(
    "what_comes_first",
    "c",
    ("the time of the request", "it is another one in every prompt: nothing after it is shared"),
    ("the customer's question", "it is another one in every prompt: nothing after it is shared"),
    ("the instructions", "yes: the same in every prompt, so all begin alike"),
    ("the order makes no difference", "it does: only what prompts begin with is shared"),
)


@noted
def toy_lengths(answer: Sequence[int] | None, slower: float = 1.5) -> Verdict:
    """64 to 512 lengths for which the toy takes `slower` times as long in batches of 16 × 4 as in
    1 × 64."""
    if untouched := _open(answer):
        return untouched
    try:
        lengths = list(answer)  # type: ignore[arg-type]
        small, large = (
            scheduling.schedule(lengths, batch_size=size, max_concurrent_batches=64 // size)
            for size in (1, 16)
        )
    except (LabError, TypeError, ValueError) as problem:
        return Verdict(WRONG, f"a list of whole numbers is wanted: {problem}")
    if not 64 <= len(lengths) <= 512:
        return Verdict(WRONG, f"give 64 to 512 lengths, not {len(lengths)}")
    ratio = large.time / small.time
    if ratio >= slower:
        return Verdict(RIGHT, f"{ratio:.2f} times as long: long rows hold short ones back")
    return Verdict(WRONG, f"{ratio:.2f} times as long: what must a batch hold to wait for long?")


@noted
def order_the_rows(before: Job, answer: Job | None, more: float = 1.2) -> Verdict:
    """A job with the rows and the limit of `before`, in another order, that has `more` times the
    mean rows in flight."""
    if wrong := _job(answer):
        return wrong
    assert answer is not None
    for knob in ("batch_size", "max_concurrent_batches"):
        if answer.spec[knob] != before.spec[knob]:
            return Verdict(WRONG, f"{knob} must stay {before.spec[knob]}")
    columns = ["prompt", "max_tokens"]
    mine, theirs = (
        job.answers[columns].sort_values(columns).to_numpy().tolist() for job in (answer, before)
    )
    if mine != theirs:
        return Verdict(WRONG, "the rows must be the same ones, in another order")
    ratio = answer.metrics.mean_rows_in_flight / before.metrics.mean_rows_in_flight
    if ratio >= more:
        return Verdict(RIGHT, f"{ratio:.2f} times as many: rows of like length end together")
    return Verdict(WRONG, f"{ratio:.2f} times as many: which rows should share a batch?")


@noted
def fewest_rows(sweep: Sweep, answer: int | Point | None, share: float = 0.8) -> Verdict:
    """The fewest rows in flight among the points of a sweep that reach `share` of the best."""
    if untouched := _open(answer):
        return untouched
    best = sweep.fastest().set_index("rows_in_flight")[RATE]
    wanted = int(best[best >= share * best.max()].index.min())
    rows: Any = answer.rows_in_flight if isinstance(answer, Point) else answer
    if isinstance(rows, bool) or not isinstance(rows, Integral):
        said = f"a number of rows in flight is wanted, not {type(answer).__name__}"
        return Verdict(WRONG, said)
    if int(rows) == wanted:
        return Verdict(RIGHT, f"{wanted} rows in flight: enough is not the most")
    return Verdict(WRONG, f"which points reach {share:.0%} of the fastest? take the first of them")


@noted
def shared_tokens(answer: float | None, alike: int = 90, block: int = 32) -> Verdict:
    """How many of `alike` tokens that two prompts begin with are reused: whole blocks only."""
    return _close(
        answer,
        alike // block * block,
        f"the cache holds blocks of {block} tokens; a block that is not full is not shared",
        "whole blocks only: short beginnings save nothing",
        within=0.001,
    )


# --- lesson 3 ------------------------------------------------------------------------------------

#: What structured output promises.
valid_is_not_right = _question(
    "valid_is_not_right",
    "a",
    (
        "that every answer is one of the three labels",
        "yes, and nothing more: the label may be wrong, and a post may have talked the model into "
        "it",
    ),
    ("that every label is right", "no: it narrows what can be written, not what is true"),
    ("that posts can give no orders", "no: an order can still move the choice among the three"),
    ("that the model has read the post", "no: it would pick a label for an empty one, too"),
)

#: What would make few-shot prompts as slow as they are long.
few_shot_order = _question(
    "few_shot_order",
    "c",
    ("longer names for the labels", "a little: an answer of more tokens takes more steps"),
    ("more posts", "no: the more posts begin alike, the more often the same blocks serve"),
    (
        "the post before the examples",
        "yes: prompts would differ from there on, and every example be read for every post",
    ),
    ("a higher temperature", "no: it changes which token is taken, not what must be read"),
)

#: What each node of a cluster needs.
on_every_node = _question(
    "on_every_node",
    "b",
    ("this notebook", "no: it stays where it is, and sends the work"),
    (
        "the model, and the rows that it reads",
        "yes: an engine loads its weights where it runs, and the rows are read there",
    ),
    ("a copy of all answers", "no: they travel back, or each node writes its part"),
    ("nothing, Ray sends all of it", "no: Ray moves rows and functions, not weights on a disk"),
)

#: Why several engines on one card help with one-word answers.
why_more_engines = _question(
    "why_more_engines",
    "d",
    ("each engine reads a part of the weights", "no: each has a copy of its own, and reads it all"),
    ("the card computes faster with more programs", "no: it is the same card"),
    ("each engine has more memory", "no: they share the card's memory, each has less"),
    (
        "the card waits for the process that feeds one engine",
        "yes: chat template, tokens and texts are a Python process's work; more engines, more of "
        "them",
    ),
)


@noted
def f1_of(job: Job, label: str, answer: float | None) -> Verdict:
    """F1 of one label, from the columns `label` (people) and `says` (model) of `job.answers`
    (within 2%)."""
    true, said = job.answers["label"] == label, job.answers["says"] == label
    hits, both = int((true & said).sum()), int(true.sum() + said.sum())
    return _close(
        answer,
        2 * hits / max(1, both),
        "2 × hits ÷ (how often people say it + how often the model says it)",
        "macro-F1 is the mean of three such numbers: one class that is never hit costs a third",
    )


@noted
def says_it(answer: Job | None, label: str = "neutral", rows: int = 60, often: int = 3) -> Verdict:
    """A job over at least `rows` posts, run with the learner's own prompt or examples, in which the
    model says `label` at least `often` times and is right about it more often than by chance."""
    if wrong := _job(answer):
        return wrong
    answers = answer.answers  # type: ignore[union-attr]
    if not {"label", "says"} <= set(answers) or len(answers) < rows:
        return Verdict(WRONG, f"run it on {rows} posts or more, with into='says'")
    if strange := set(answers["says"]) - set(LABELS):
        return Verdict(WRONG, f"{sorted(map(str, strange))[0]!r} is none of the labels")
    said = answers["says"] == label
    if said.sum() < often:
        return Verdict(WRONG, f"{label} {said.sum()} times: does the prompt say when to choose it?")
    right, share = (answers["label"][said] == label).mean(), (answers["label"] == label).mean()
    if right <= share:
        return Verdict(
            WRONG, f"{label} {said.sum()} times, right {right:.0%}: no better than chance"
        )
    return Verdict(RIGHT, f"{label} {said.sum()} times, right {right:.0%}, by chance {share:.0%}")


@noted
def rows_for(job: Job, price_per_hour: float, answer: float | None, money: float = 10) -> Verdict:
    """How many rows `money` buys at the job's rows/s over its engine span (within 2%)."""
    return _close(
        answer,
        money / price_per_hour * 3600 * job.metrics.rows_per_s,
        "money ÷ price of an hour = hours; × 3,600 = seconds; × rows/s",
        "faster rows are cheaper rows: throughput is money",
    )


@noted
def seconds_for(sweep: Sweep, point: Point, answer: float | None, rows: int = 4200) -> Verdict:
    """The engine span of `rows` rows at the median rows/s of a point of a sweep (within 2%)."""
    table = sweep.summary()
    at = (table["batch_size"] == point.batch_size) & (
        table["max_concurrent_batches"] == point.max_concurrent_batches
    )
    return _close(
        answer,
        rows / float(table.loc[at, "rows/s"].iloc[0]),
        "rows ÷ the median rows/s of the chosen point (tried.summary() has it)",
        "the start of an engine comes on top, once",
    )


@noted
def requests_per_s(answer: float | None, in_flight: int = 16, latency_s: float = 2) -> Verdict:
    """How many rows a second a server answers that takes `latency_s` for each of `in_flight`."""
    return _close(
        answer,
        in_flight / latency_s,
        "in the time of one request, how many are answered?",
        "one after another it would be one in that time: rows in flight are throughput here, too",
    )


@noted
def rows_to_resume(answer: float | None) -> Verdict:
    """70 of 100 rows on disk, 5 of them failed, `retry_failed=True`: how many are computed?"""
    return _close(
        answer,
        35,
        "the rows that are missing, and those that failed",
        "the 65 good ones are never computed again",
    )
