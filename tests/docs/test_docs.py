"""The pages about experiments name every experiment, and only files that exist."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples"


def test_every_experiment_has_one_row_and_every_row_an_experiment() -> None:
    rows = re.findall(r"^\| \[([^\]]+)\]\(([^)]+)\)", (EXAMPLES / "README.md").read_text(), re.M)
    assert sorted(f"{name}.toml" for name, _ in rows) == sorted(path.name for path in EXAMPLES.glob("*.toml"))
    assert all(f"{name}.toml" == link for name, link in rows)


def test_links_lead_somewhere() -> None:
    for page in DOCS.rglob("*.md"):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_example_says_what_it_shows() -> None:
    for path in EXAMPLES.glob("*.toml"):
        assert path.read_text().startswith("# "), path.name


def test_examples_and_studies_read_files_of_the_repository_only() -> None:
    """A clone is enough: no path of data leads out of it, and none is missing."""
    root = DOCS.parent
    files = [*EXAMPLES.glob("*.toml"), *root.joinpath("plugins", "measureflow_plugins", "studies").glob("*.toml")]
    paths = {path for file in files for path in re.findall(r'^(?:"data\.)?path"? = "([^"]+)"', file.read_text(), re.M)}
    assert {f"docs/data/earth/{name}.csv" for name in ("fire", "flood", "quakes_all", "volerup")} <= paths
    for path in paths:
        assert (root / path).is_file(), path
        assert (root / path).resolve().is_relative_to(root.resolve()), path
