"""What is declared is documented, and the documentation is what is declared."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from metrics.instruments import METRICS
from sleeper.cli.exits import MEANING as EXIT_MEANING
from sleeper.cli.exits import ExitCode
from sleeper.config.reading import listed_section, setting_fields
from sleeper.config.settings import Config
from sleeper.core import names
from sleeper.core.reasons import MEANING, Reason

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def _load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


GENERATOR: Any = _load_generator()


@pytest.mark.parametrize("page", sorted(GENERATOR.PAGES))
def test_the_page_is_what_the_declarations_say(page: str) -> None:
    made = GENERATOR.PAGES[page]()
    assert (REFERENCE / page).read_text() == made, "type `make docs`"


def test_every_annotation_constant_is_declared_and_documented() -> None:
    keys = {
        value
        for name, value in vars(names).items()
        if isinstance(value, str) and value.startswith(f"{names.GROUP}/")
        if not name.startswith("LABEL_")
    }
    assert keys == {spec.key for spec in names.ANNOTATIONS}
    page = (REFERENCE / "annotations.md").read_text()
    assert all(f"`{key}`" in page for key in keys)
    assert all(spec.help and spec.form for spec in names.ANNOTATIONS)


def test_no_key_of_ours_is_written_out_anywhere_else() -> None:
    written = re.compile(rf"[\"']{re.escape(names.GROUP)}/[a-z-]+[\"']")
    offenders = [
        path.relative_to(ROOT)
        for package in ("sleeper", "billing", "metrics")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "names.py" and written.search(path.read_text())
    ]
    assert offenders == []


def test_every_reason_has_a_meaning_and_is_documented() -> None:
    assert set(MEANING) == set(Reason)
    page = (REFERENCE / "reasons.md").read_text()
    assert all(f"`{reason}`" in page for reason in Reason)


def test_every_exit_code_has_a_meaning_and_is_documented() -> None:
    assert set(EXIT_MEANING) == set(ExitCode)
    page = (REFERENCE / "exit-codes.md").read_text()
    assert all(f"| {code.value} |" in page for code in ExitCode)


def test_every_metric_is_documented_with_its_help() -> None:
    page = (REFERENCE / "metrics.md").read_text()
    assert all(f"`{metric.name}`" in page and metric.help in page for metric in METRICS)


def test_every_setting_is_documented_with_its_meaning() -> None:
    page = (REFERENCE / "configuration.md").read_text()
    seen = 0

    def walk(section: type, prefix: str) -> None:
        nonlocal seen
        for declared, wanted in setting_fields(section):
            name = prefix + declared.name
            assert declared.metadata["meaning"], name
            nested = wanted if is_dataclass(wanted) else listed_section(wanted)
            if not is_dataclass(wanted):
                assert f"| `{name}` |" in page
                seen += 1
            if isinstance(nested, type):
                walk(nested, f"{name}." if is_dataclass(wanted) else f"{name}[].")

    walk(Config, "")
    assert seen > len(fields(Config))
