"""Whatever is declared without being documented is noticed: each sort is planted once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from metrics import instruments
from sleeper.config.settings import Config, setting
from sleeper.core import names, reasons
from sleeper.core.reasons import Reason
from sleeper.kube import crd
from tests.docs import test_reference as reference
from tests.kube import test_crd

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Config(Config):
    planted: int = setting("Planted.", 1)


def metric(patch: pytest.MonkeyPatch) -> None:
    planted = instruments.Metric(
        name="sleeper_planted_total", type=instruments.MetricType.COUNTER, help="Planted."
    )
    patch.setattr(instruments, "METRICS", (*instruments.METRICS, planted))


def annotation(patch: pytest.MonkeyPatch) -> None:
    planted = names.AnnotationSpec(key=f"{names.GROUP}/planted", form="`1`", help="Planted.")
    patch.setattr(reference.GENERATOR, "ANNOTATIONS", (*names.ANNOTATIONS, planted))


def own_setting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reference.GENERATOR, "Config", _Config)


def reason(patch: pytest.MonkeyPatch) -> None:
    meant = {reason.value: text for reason, text in reasons.MEANING.items()}
    planted = {**meant, "Planted": "Planted."}
    patch.setattr(reference.GENERATOR, "REASON_MEANING", planted)


def field(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(crd.SPEC["properties"], "planted", {"type": "string", "description": "Planted."})


@pytest.mark.parametrize(
    ("page", "plant"),
    [
        ("metrics.md", metric),
        ("annotations.md", annotation),
        ("configuration.md", own_setting),
        ("reasons.md", reason),
        ("sleeprecord.md", field),
    ],
)
def test_what_is_declared_and_not_on_its_page_fails_the_comparison(
    page: str, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference.test_the_page_is_what_the_declarations_say(page)
    plant(monkeypatch)
    with pytest.raises(AssertionError, match="make docs"):
        reference.test_the_page_is_what_the_declarations_say(page)


def test_an_annotation_that_is_used_and_not_declared_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(names, "PLANTED", f"{names.GROUP}/planted", raising=False)
    with pytest.raises(AssertionError, match="planted"):
        reference.test_every_annotation_constant_is_declared_and_documented()


def test_a_reason_without_a_meaning_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(reasons.MEANING, Reason.IDLE)
    with pytest.raises(AssertionError):
        reference.test_every_reason_has_a_meaning_and_is_documented()


def test_a_field_that_the_shipped_definition_lacks_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    field(monkeypatch)
    with pytest.raises(AssertionError):
        test_crd.test_the_shipped_manifest_is_generated_from_the_declaration()
