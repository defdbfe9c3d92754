"""The lessons' diagrams: `python -m tools.draw` writes notebooks/pictures, `--check` compares.

Where each is shown its words are `ALT[name]`: they stand in the picture itself, too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from labkit.paths import REPO
from tools.drawing import (
    continuous_batching,
    decode_step,
    engines_on_a_card,
    funnel,
    pipeline,
    prefill_decode,
    prefix_caching,
)
from tools.drawing.canvas import Picture

FOLDER = REPO / "notebooks" / "pictures"
_MODULES = {
    "pipeline": pipeline,
    "decode-step": decode_step,
    "prefill-decode": prefill_decode,
    "continuous-batching": continuous_batching,
    "funnel": funnel,
    "prefix-caching": prefix_caching,
    "engines-on-a-card": engines_on_a_card,
}
DRAW: dict[str, Callable[[], Picture]] = {name: each.draw for name, each in _MODULES.items()}
#: What is seen in each picture, in words.
ALT: dict[str, str] = {name: each.ALT for name, each in _MODULES.items()}


def differing() -> list[str]:
    """The names of the pictures whose file is not what this code draws."""
    return [name for name in DRAW if _on_disk(name) != DRAW[name]().svg()]


def _on_disk(name: str) -> str | None:
    file = FOLDER / f"{name}.svg"
    return file.read_text(encoding="utf-8") if file.is_file() else None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.draw", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if a file differs")
    if parser.parse_args(arguments).check:
        for name in (names := differing()):
            print(f"{name}.svg is not what the code draws: run python -m tools.draw")
        return int(bool(names))
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, draw in DRAW.items():
        (FOLDER / f"{name}.svg").write_text(draw().svg(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
