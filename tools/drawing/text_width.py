"""How wide a text is at most: the letters of DejaVu Sans, the widest of the fonts in use.

Thousandths of the font's size, for the characters from space to tilde.
"""

from __future__ import annotations

import re

_REGULAR = """
318 401 460 838 636 950 780 275 390 390 500 838 318 361 318 337 636 636 636 636 636 636
636 636 636 636 337 337 838 838 838 531 1000 684 686 698 770 632 575 775 752 295 295 656
557 863 748 787 603 787 695 635 611 732 684 989 685 611 685 390 337 390 838 500 500 613
635 550 635 615 352 635 634 278 278 579 278 974 634 612 635 635 411 521 392 634 592 818
592 592 525 636 337 636 838
"""
_BOLD = """
348 456 521 838 696 1002 872 306 457 457 523 838 380 415 380 365 696 696 696 696 696 696
696 696 696 696 400 400 838 838 838 580 1000 774 762 734 830 683 683 821 837 372 372 775
637 995 837 850 733 850 770 720 682 812 774 1103 771 724 725 457 365 457 838 500 500 675
716 593 716 678 435 716 712 343 343 665 343 1042 712 687 716 716 493 595 478 712 652 924
645 652 582 712 365 712 838
"""
_WIDTHS = {
    bold: dict(zip(map(chr, range(32, 127)), map(int, widths.split()), strict=True))
    for bold, widths in ((False, _REGULAR), (True, _BOLD))
}
_OTHER, _CODE = 1000, 602
#: A piece of text: `code`, **bold**, or plain.
_PIECE = re.compile(r"`([^`]+)`|\*\*(.+?)\*\*|([^`*]+)")


def pieces(words: str) -> list[tuple[str, str]]:
    """Text with `code` and **bold** in it → (class or "", characters)."""
    found = _PIECE.findall(words)
    return [("code", c) if c else ("bold", b) if b else ("", plain) for c, b, plain in found]


def width(words: str, size: float, bold: bool = False) -> float:
    """The width of one line, in the units of `size`."""
    total = 0
    for kind, piece in pieces(words):
        if kind == "code":
            total += _CODE * len(piece)
        else:
            widths = _WIDTHS[bold or kind == "bold"]
            total += sum(widths.get(letter, _OTHER) for letter in piece)
    return total * size / 1000


def wrap(words: str, size: float, room: float, bold: bool = False) -> list[str]:
    """Lines no wider than `room`, if no single word is."""
    lines = [""]
    for word in words.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and width(longer, size, bold) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
