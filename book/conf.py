"""How Sphinx builds the book (https://www.sphinx-doc.org/en/master/usage/configuration.html)."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from book.stage import EXTRA, FILES, facts  # noqa: E402

pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())

project = "The batch-inference lab"
release = pyproject["project"]["version"]
project_copyright = "its authors, under the Apache License 2.0"
author = ""
language = "en"

extensions = ["myst_nb", "book.glossary_words", "book.lighter"]
exclude_patterns = [f"{folder}/**" for folder in FILES]
nitpicky = True

nb_execution_mode = "off"
nb_merge_streams = True
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_block", "colon_fence", "substitution"]
myst_substitutions = facts()

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["static"]
html_favicon = "static/icon.svg"
templates_path = ["templates"]
html_context = {"default_mode": "auto"}
html_css_files = ["book.css"]
html_extra_path = [str(EXTRA)]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {
    "home_page_in_toc": False,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navbar_persistent": [],  # the search stands in the side bar
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
