"""The site: `sphinx-build -W docs docs/_build`. Neither the build nor a page that it makes needs a network."""

import re
from importlib.metadata import version as installed
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

project = "measureflow"
version = release = installed("measureflow")
extensions = ["myst_parser"]
exclude_patterns = ["_build", "example_plugin"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"{project} {version}"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["copy.js"]
add_module_names = False
maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"

SPACED = re.compile(r"<mo>(&ApplyFunction;)</mo>(?!\s*<mo)")  # log Z, not logZ


def math(self: Any, node: nodes.Node) -> None:
    """Writes a formula as MathML, which browsers show without a script."""
    block = isinstance(node, nodes.math_block)
    try:
        self.body.append(SPACED.sub(r'<mo rspace="0.17em">\1</mo>', tex2mathml(node.astext(), as_block=block)))
    except MathError as error:
        logging.getLogger(__name__).warning("a formula cannot be written as MathML: %s", error, location=node)
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("mathml", (math, None), (math, None))
