"""Every file that a page of ours names is there, so that a stranger finds it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]

_CODE_BLOCK = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_QUOTED = re.compile(r"`([^`\s]+)`")
_FILE = re.compile(r"[A-Za-z0-9_.-]+\.(?:py|md|yaml|yml|toml|lock|go|mod)")
_ROOMS = ("sleeper", "metrics", "billing", "deploy", "docs", "tests")
_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


def named(page: str) -> list[tuple[str, str | None]]:
    """Paths in back-quotes, each with the folder of the last whole path before it on its line.

    A bare file name, such as the second of "`sleeper/kube/client.py`, `transport.py`", is in that
    folder. Paths with placeholders and addresses are no files.
    """
    found: list[tuple[str, str | None]] = []
    for line in _CODE_BLOCK.sub("", page).splitlines():
        folder: str | None = None
        for quoted in _QUOTED.findall(line):
            path = quoted.split("::", maxsplit=1)[0]
            if path.startswith(tuple(f"{room}/" for room in _ROOMS)):
                folder = path.rpartition("/")[0]
                found.append((path, None))
            elif _FILE.fullmatch(path) and not (ROOT / path).is_file():
                found.append((path, folder))
    return found


def missing(page: str) -> list[str]:
    return [path for path, folder in named(page) if not (ROOT / (folder or "") / path).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    assert missing(text) == []
    links = [link for link in _LINK.findall(text) if not (page.parent / link).exists()]
    assert links == []


def test_the_map_names_files_by_the_dozen() -> None:
    assert len(named((ROOT / "ARCHITECTURE.md").read_text())) > 80


@pytest.mark.parametrize(
    "line",
    [
        "| What | `sleeper/core/nowhere.py` |",
        "| What | `sleeper/core/decide.py`, `nowhere.py` |",
        "see `tests/core/nowhere.py::test_it`",
        "see `nowhere.py`",
    ],
)
def test_a_file_that_is_not_there_is_noticed(line: str) -> None:
    assert len(missing(line)) == 1
