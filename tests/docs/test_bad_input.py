"""Every line of the page on bad input names tests, and those tests are there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "bad-input.md"

_NODE_ID = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_SENTENCES = 50
"""Lines of the page's tables; one that is taken out is missed here."""


def rows(page: str) -> list[str]:
    """Lines of tables, without their heads."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    return [line for line in lines if not line.startswith(("|---", "| What comes in |"))]


@lru_cache
def collected_in(path: str) -> frozenset[str]:
    """Names of the test functions of a module, as pytest would collect them."""
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    return frozenset(_tests_in(ast.parse(file.read_text())))


def _tests_in(module: ast.Module) -> Iterator[str]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
            "test_"
        ):
            yield node.name


def gone(page: str) -> list[str]:
    return [
        f"{path}::{name}" for path, name in _NODE_ID.findall(page) if name not in collected_in(path)
    ]


def test_every_test_that_the_page_names_is_there() -> None:
    assert gone(PAGE.read_text()) == []


def test_every_sentence_of_the_page_names_a_test() -> None:
    sentences = rows(PAGE.read_text())
    assert [line for line in sentences if not _NODE_ID.search(line)] == []
    assert len(sentences) >= _SENTENCES


@pytest.mark.parametrize(
    "node_id",
    [
        "tests/docs/test_bad_input.py::test_under_another_name",
        "tests/docs/test_bad_input.py::rows",
        "tests/docs/test_nowhere.py::test_every_test_that_the_page_names_is_there",
    ],
)
def test_a_test_that_was_renamed_is_noticed(node_id: str) -> None:
    assert gone(f"| a | b | `{node_id}` |") == [node_id]
