"""A link to a word of the glossary says the word's meaning: under the pointer, and by keyboard.

The text is the first paragraph below the word in docs/glossary.md; Bootstrap, which comes with the
theme, shows it as a tooltip. Without JavaScript it is the link's title.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

PAGE = "docs/glossary"


def meanings(glossary: nodes.document) -> dict[str, str]:
    """{anchor: the first paragraph below its heading} of the glossary."""
    found: dict[str, str] = {}
    for section in glossary.findall(nodes.section):
        paragraph = next((c for c in section.children if isinstance(c, nodes.paragraph)), None)
        if paragraph is not None:
            found |= {anchor: paragraph.astext() for anchor in section["ids"]}
    return found


def explain(app: Sphinx, document: nodes.document, page: str) -> None:
    """Give each link to a word its meaning; mark the diagrams, which know light and dark."""
    if page != PAGE:
        words = meanings(app.env.get_doctree(PAGE))
        for link in document.findall(nodes.reference):
            target, _, anchor = link.get("refuri", "").partition("#")
            if target.endswith("glossary.html") and anchor in words:
                link["reftitle"] = words[anchor]
                link["classes"].append("word")
    for picture in document.findall(nodes.image):
        if picture["uri"].endswith(".svg"):
            picture["classes"].append("dark-light")  # the theme leaves such a picture as it is


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-resolved", explain)
    app.add_js_file("page.js", loading_method="defer", priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
