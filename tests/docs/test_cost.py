"""The pages that promise say what sleeping may cost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sleeper.core.names import EXCLUDE, LOCAL_DATA

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DECIDES = ROOT / "docs" / "how-it-decides.md"
_LINK = re.compile(r"\]\(([^)#:\s]*)#([^)]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def section(page: Path, heading: str) -> str:
    """The text below a heading, up to the next one."""
    found = re.search(
        rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", page.read_text(), re.DOTALL | re.MULTILINE
    )
    assert found is not None, f"{page.name} has no section {heading!r}"
    return found[1]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made where it is shown."""
    headings = (heading.lower() for heading in _HEADING.findall(page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


@pytest.mark.fault(20)
@pytest.mark.parametrize(
    ("page", "heading"),
    [(README, "What sleeping costs"), (DECIDES, "What comes back, and what does not")],
    ids=["README", "how-it-decides"],
)
def test_what_sleeping_may_cost_is_said(page: Path, heading: str) -> None:
    said = section(page, heading)
    for cost in ("`emptyDir`", "container's own layer", "emory", "obs", "aches and sessions"):
        assert cost in said, cost
    for remedy in ("exclude", "sleep-after: never"):
        assert remedy in said, remedy


@pytest.mark.fault(20)
def test_without_losing_anything_leads_to_what_that_means() -> None:
    promise = "[without losing anything](docs/how-it-decides.md#what-comes-back-and-what-does-not)"
    assert promise in README.read_text()
    assert "without losing anything" not in README.read_text().replace(promise, "")
    said = section(DECIDES, "What comes back, and what does not")
    assert '"Without losing anything" is said of' in said
    for key in (EXCLUDE, LOCAL_DATA):
        assert key in section(README, "What sleeping costs")


@pytest.mark.parametrize(
    "page", [README, *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name
)
def test_a_link_into_a_page_leads_to_a_heading(page: Path) -> None:
    for path, anchor in _LINK.findall(page.read_text()):
        target = page.parent / path if path else page
        assert anchor in anchors(target), f"{page.name}: {path}#{anchor}"
