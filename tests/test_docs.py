"""The pages about experiments name every experiment, and only files that exist."""

import re
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
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
