"""The seats of a class: a token for each, and the sheet of links to hand out.

A token is the seat's number and a keyed hash of it (HMAC, RFC 2104): no list of them is kept, the
same folder has the same ones after a restart, and without the folder's key none can be made up.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from html import escape
from pathlib import Path

from labkit.errors import LabError

#: Hexadecimal digits of the hash: 80 bits, of which nobody tries enough.
DIGITS = 20
MOST = 999


class Seats:
    """The tokens of seats 01, 02, … of the class whose key is in `folder`.

    Raises LabError for a number of seats that is none.
    """

    def __init__(self, folder: Path, number: int):
        if isinstance(number, bool) or not 1 <= number <= MOST:
            raise LabError(f"A class has 1 to {MOST} seats, not {number!r}.")
        self.number = number
        self._key = _key(folder / "key")

    def names(self) -> list[str]:
        """Of all seats."""
        return [f"{seat:02}" for seat in range(1, self.number + 1)]

    def token(self, seat: str) -> str:
        """A seat's token."""
        digest = hmac.new(self._key, seat.encode(), hashlib.sha256).hexdigest()
        return f"{seat}-{digest[:DIGITS]}"

    def seat(self, token: str) -> str | None:
        """Whose token this is; None for nobody's."""
        name = token.partition("-")[0]
        known = name in self.names()
        right = hmac.compare_digest(self.token(name if known else "01").encode(), token.encode())
        return name if known and right else None


def _key(file: Path) -> bytes:
    if not file.exists():
        part = file.with_name(f"{file.name}.part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
            opened.write(secrets.token_bytes(32))
        part.replace(file)
    key = file.read_bytes()
    if len(key) != 32:
        raise LabError(f"{file} is damaged: delete it, and hand out the new links.")
    return key


def sheet(seats: Seats, url: str, words: str) -> str:
    """A page to print and cut: a box a seat, with its link, as text and as a QR code, and what to
    do with it. words: what the class runs on."""
    boxes = "".join(
        f"<section>{code(link)}<h2>Seat {name}</h2><p><code>{escape(link)}</code></p>"
        "<p>Open it in a browser: it says how to go on. In a notebook, first of all:</p>"
        f"<pre>%env LABKIT_CLASS={escape(link)}</pre></section>"
        for name, link in ((name, f"{url}/{seats.token(name)}") for name in seats.names())
    )
    return PAGE.format(title=f"Seats of the class on {escape(words)}", body=boxes)


def code(link: str) -> str:
    """The link as a QR code (SVG); '' where the environment was set up before there were any."""
    try:
        import segno
    except ModuleNotFoundError:
        return ""
    made = segno.make_qr(link)
    return str(made.svg_inline(scale=3, svgclass="code", title="the link as a QR code"))


def welcome(name: str, link: str, words: str) -> str:
    """What a seat's link shows in a browser."""
    body = (
        f"<p>This is seat {escape(name)} of the class on {escape(words)}. Its engine answers your "
        "jobs, by turns with the others.</p><ol><li>Get the lab, and in its folder:"
        "<pre>python scripts/seat.py</pre></li><li>Start it with your link:"
        f"<pre>python scripts/seat.py {escape(link)}</pre></li></ol>"
        "<p>Where the lab is there already, put this before <code>import labkit</code>:</p>"
        f"<pre>%env LABKIT_CLASS={escape(link)}</pre><p>The link is yours alone.</p>"
    )
    return PAGE.format(title="The batch-inference lab", body=f"<section>{body}</section>")


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em;
  color: #1b1b1b; background: #fff; }}
section {{ border: 1px dashed #888; padding: 0 1em; margin: 1em 0; break-inside: avoid; }}
h2 {{ margin: .6em 0 0; font-size: 1.1em; }} p {{ margin: .5em 0; }}
code, pre {{ font-size: 14px; overflow-wrap: anywhere; white-space: pre-wrap; }}
pre {{ background: #f2f4f7; padding: .5em; }}
section, pre {{ overflow: hidden; }} .code {{ float: right; margin: .5em 0 .5em 1em; }}
</style><h1>{title}</h1>{body}</html>
"""
