"""How Sphinx builds the site: `make docs`. Warnings are errors, and nothing is fetched.

The source folder is the top of the repository, so a page lies in the site where it lies in the repository, and a link
that works there works here. What is special is in docs/extensions, one concern a file.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))

project = "weblatch"
author = "The weblatch authors"
version = release = re.findall(r'^version = "(.*?)"', (HERE.parent / "pyproject.toml").read_text(), re.MULTILINE)[0]

extensions = ["myst_parser", "sphinx.ext.autodoc", "written_signatures", "docstrings", "plain_links"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "examples/**README.md", "bench/**README.md"]
suppress_warnings = ["misc.highlighting_failure"]  # blocks that are shown because they are wrong

# References: links are checked by MyST; names in signatures are linked where the site has them.
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # a name of the standard library, or one that is not public, is text
myst_heading_anchors = 4
myst_heading_slug_func = "plain_links.slug"
myst_enable_extensions = []
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": True}
add_module_names = False
python_display_short_literal_types = True
python_maximum_signature_line_length = 100

html_theme = "furo"
html_title = f"weblatch {version}"
html_copy_source = False
html_show_copyright = False
html_additional_pages = {"index": "to_the_front_page.html"}
templates_path = ["templates"]
pygments_style = "friendly"
highlight_language = "text"
