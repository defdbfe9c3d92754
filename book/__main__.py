"""Build the book: `python -m book`, in the environment that `make site` makes."""

from __future__ import annotations

import sys

from book.stage import HTML, SOURCE, stage


def main() -> int:
    from sphinx.cmd.build import main as sphinx

    stage(SOURCE)
    # Whole, and warnings are errors: a link to a page or a heading that isn't there ends the build.
    options = ["-b", "html", "-c", "book", "-d", str(SOURCE.parent / "trees"), "-E", "-a", "-q"]
    failed = sphinx([*options, "-W", "--keep-going", str(SOURCE), str(HTML)])
    if not failed:
        print(f"The book is built: open {HTML.relative_to(HTML.parent.parent)}/index.html, or put")
        print("the folder on any web server.")
    return failed


if __name__ == "__main__":
    sys.exit(main())
