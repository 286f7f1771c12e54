"""The site: `sphinx-build -W docs docs/_build`. It needs no network."""

from importlib.metadata import version as installed

project = "measureflow"
version = release = installed("measureflow")
extensions = ["myst_parser"]
exclude_patterns = ["_build", "example_plugin"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"{project} {version}"
