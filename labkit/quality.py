"""How good are labels: accuracy, macro-F1, confusion, each with its uncertainty. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

#: 95% of a normal distribution lies within this many standard deviations.
Z95 = 1.959964
#: How the confusion matrix calls a prediction that is none of the labels.
OTHER = "other"


@dataclass(frozen=True)
class Quality:
    """Agreement of predictions with the truth; `low` and `high` bound a 95% interval."""

    rows: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    macro_f1: float
    macro_f1_low: float
    macro_f1_high: float

    def __str__(self) -> str:
        return (
            f"accuracy {self.accuracy:.2f} ({self.accuracy_low:.2f}–{self.accuracy_high:.2f}), "
            f"macro-F1 {self.macro_f1:.2f} ({self.macro_f1_low:.2f}–{self.macro_f1_high:.2f})"
        )


def evaluate(truth: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> Quality:
    """Accuracy with Wilson's interval and macro-F1 with a bootstrap interval (1,000 samples).

    A prediction outside `labels` counts as wrong. Raises ValueError for no rows, unequal
    lengths, or a truth outside `labels`. Source: Wilson, J. Am. Stat. Assoc. 22 (1927); Efron,
    Ann. Stat. 7 (1979).
    """
    if len(truth) != len(predicted) or not len(truth):
        raise ValueError(f"{len(truth)} true labels, {len(predicted)} predictions")
    if strange := set(truth) - set(labels):
        raise ValueError(f"true labels outside {list(labels)}: {sorted(strange)}")
    codes = {label: code for code, label in enumerate(labels)}
    true = np.array([codes[label] for label in truth])
    guess = np.array([codes.get(label, len(labels)) for label in predicted])
    accuracy = float((true == guess).mean())
    low, high = wilson(accuracy, len(true))
    # The classes of the whole sample: one that a resample lacks has an F1 of 0 there, as it has
    # where it is never hit; left out, a rare class that is always wrong would raise the interval.
    classes = np.array([code for code in range(len(labels)) if code in true or code in guess])
    random = np.random.default_rng(0)
    draws = (random.integers(0, len(true), len(true)) for _ in range(1000))
    scores = [_macro_f1(true[d], guess[d], classes) for d in draws]
    f1_low, f1_high = np.quantile(scores, [0.025, 0.975])
    return Quality(
        rows=len(true),
        accuracy=accuracy,
        accuracy_low=low,
        accuracy_high=high,
        macro_f1=_macro_f1(true, guess, classes),
        macro_f1_low=float(f1_low),
        macro_f1_high=float(f1_high),
    )


def wilson(share: float, rows: int) -> tuple[float, float]:
    """The 95% interval of a share seen in `rows` trials (Wilson's score interval)."""
    middle = (share + Z95**2 / (2 * rows)) / (1 + Z95**2 / rows)
    spread = math.sqrt(share * (1 - share) / rows + Z95**2 / (4 * rows**2))
    half = Z95 / (1 + Z95**2 / rows) * spread
    return max(0.0, middle - half), min(1.0, round(middle + half, 12))


def _macro_f1(true: np.ndarray, guess: np.ndarray, classes: np.ndarray) -> float:
    """The mean F1 of these classes, 0 for one that is nowhere."""
    size = 2 + max(int(classes.max()), int(guess.max()), int(true.max()))
    hits = np.bincount(true[true == guess], minlength=size)[classes]
    both = np.bincount(true, minlength=size)[classes] + np.bincount(guess, minlength=size)[classes]
    return float(np.mean(2 * hits / np.maximum(both, 1)))


def confusion(
    truth: Sequence[str], predicted: Sequence[str], labels: Sequence[str]
) -> pd.DataFrame:
    """Counts: a row for each true label, a column for each predicted one.

    Predictions outside `labels`, None among them, stand in a last column `other`, if there are any.
    """
    said = [label if label in labels else OTHER for label in predicted]
    columns = [*labels, *([OTHER] if OTHER in said else [])]
    pairs = pd.crosstab(pd.Series(list(truth)), pd.Series(said))
    table = pairs.reindex(index=list(labels), columns=columns, fill_value=0)
    return table.rename_axis(index="people say", columns="predicted")


def compare(
    truth: Sequence[str], predictions: dict[str, Sequence[str]], labels: Sequence[str]
) -> pd.DataFrame:
    """A row for each set of predictions: accuracy and macro-F1 with their 95% intervals."""
    rows = {}
    for name, predicted in predictions.items():
        q = evaluate(truth, predicted, labels)
        rows[name] = {
            "accuracy": f"{q.accuracy:.2f}",
            "95%": f"{q.accuracy_low:.2f}–{q.accuracy_high:.2f}",
            "macro-F1": f"{q.macro_f1:.2f}",
            "95% ": f"{q.macro_f1_low:.2f}–{q.macro_f1_high:.2f}",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("labelled by")


def vader_labels(texts: Sequence[str]) -> list[str]:
    """The labels of the VADER lexicon (the package's own thresholds: compound ≥ 0.05, ≤ −0.05).

    Source: Hutto & Gilbert, VADER, ICWSM 2014.
    """
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    scores = [analyzer.polarity_scores(text)["compound"] for text in texts]
    return ["positive" if s >= 0.05 else "negative" if s <= -0.05 else "neutral" for s in scores]


def bill(
    rows: int, tokens: int, engine_span_s: float, gpus: int, price_per_hour: float
) -> pd.DataFrame:
    """What a job costs at `price_per_hour` for each GPU (or machine), the engine span alone.

    Columns: tokens, GPU-seconds, cost, cost per thousand rows, cost per million tokens.
    """
    seconds = engine_span_s * gpus
    cost = seconds / 3600 * price_per_hour
    return pd.DataFrame(
        {
            "rows": [f"{rows:,}"],
            "tokens": [f"{tokens:,}"],
            "machine-seconds": [f"{seconds:,.1f}"],
            "cost": [f"{cost:.4f}"],
            "per 1,000 rows": [f"{1000 * cost / rows:.4f}"],
            "per 1,000,000 tokens": [f"{1e6 * cost / tokens:.4f}"],
        },
        index=pd.Index(["this job"], name=""),
    )
