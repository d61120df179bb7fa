"""Whose word a value is that may be ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleeper.core.authorship import Witness, set_since, set_since_creation, witness

REPLICAS = "/spec/replicas"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
BEFORE, AFTER = "2026-11-21T00:00:00Z", "2026-11-21T03:00:00Z"


def live(*entries: dict[str, Any], applied: Any = None) -> dict[str, Any]:
    annotations = {} if applied is None else {LAST_APPLIED: applied}
    meta = {"annotations": annotations, "managedFields": list(entries)}
    return {"metadata": meta, "spec": {"replicas": 0}}


def entry(manager: str, *, holds: bool = False, **more: Any) -> dict[str, Any]:
    fields: Any = {"f:spec": {"f:replicas": {}} if holds else {"f:template": {}}}
    return {"manager": manager, "operation": "Update", "fieldsV1": fields, "time": BEFORE} | more


def manifest(replicas: int | None) -> str:
    return json.dumps({"spec": {} if replicas is None else {"replicas": replicas}})


@pytest.mark.parametrize("cautious", [False, True])
@pytest.mark.parametrize(
    ("then", "now", "who"),
    [
        (live(entry("helm")), live(entry("helm")), None),
        (live(entry("helm")), live(entry("helm"), entry("sleeper", holds=True, time=AFTER)), None),
        (live(entry("helm")), live(entry("helm", holds=True)), "helm"),
        (live(entry("helm")), live(entry("kubectl", holds=True, subresource="scale")), "kubectl"),
        (live(applied=manifest(2)), live(applied=manifest(2)), None),
        (live(applied=manifest(0)), live(applied=manifest(0)), None),
        (live(applied=manifest(2)), live(applied=manifest(0)), "kubectl apply"),
        (live(), live(applied=manifest(0)), "kubectl apply"),
        (live(applied="not json"), live(applied="not json"), None),
    ],
)
def test_only_who_wrote_it_since_has_spoken(
    then: Any, now: Any, who: str | None, *, cautious: bool
) -> None:
    assert set_since(now, REPLICAS, witness(then, [REPLICAS]), cautious=cautious) == who


@pytest.mark.parametrize(
    ("then", "now"),
    [
        (live(entry("helm")), live(entry("helm", time=AFTER))),
        (live(entry("helm")), live(entry("helm"), entry("edit", time=AFTER))),
        (live(applied=manifest(2)), live(applied=manifest(None))),
        (live(applied=manifest(2)), live()),
    ],
)
def test_a_field_that_needs_caution_is_left_after_any_write(then: Any, now: Any) -> None:
    before = witness(then, [REPLICAS])
    assert set_since(now, REPLICAS, before, cautious=False) is None
    assert set_since(now, REPLICAS, before, cautious=True) is not None


@pytest.mark.parametrize("more", [{"subresource": "status"}, {"manager": "sleeper"}])
def test_who_reports_status_and_ourselves_do_not_count_as_writers(more: dict[str, Any]) -> None:
    now = live(entry("helm"), entry("controller", time=AFTER) | more)
    assert set_since(now, REPLICAS, Witness(written=BEFORE), cautious=True) is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(applied=st.text() | _JSON.map(json.dumps), cautious=st.booleans())
def test_nothing_that_stands_in_the_annotation_breaks_the_reader(
    applied: str, *, cautious: bool
) -> None:
    now = live(applied=applied)
    assert set_since(now, REPLICAS, witness(now, [REPLICAS]), cautious=cautious) is None


def with_our_note(made: dict[str, Any]) -> dict[str, Any]:
    """``made`` where its last entry holds our annotation, too."""
    fields = made["metadata"]["managedFields"][-1]["fieldsV1"]
    fields["f:metadata"] = {"f:annotations": {"f:sleeper.dev/restore": {}}}
    return made


@pytest.mark.fault(2)
@pytest.mark.parametrize(
    "now",
    [
        with_our_note(live(entry("kubectl-replace", holds=True, time=AFTER))),
        live(
            applied=json.dumps(
                {
                    "metadata": {"annotations": {"sleeper.dev/restore": "{}"}},
                    "spec": {"replicas": 0},
                }
            )
        ),
    ],
)
def test_who_put_our_annotation_back_with_the_value_has_not_spoken(now: Any) -> None:
    assert set_since(now, REPLICAS, Witness(), cautious=False) is None
    assert set_since(now, REPLICAS, Witness(), cautious=True) is not None, "the safe side"
    now["metadata"]["creationTimestamp"] = BEFORE
    assert set_since_creation(now, REPLICAS, cautious=False) is None


@pytest.mark.fault(2)
def test_a_word_beside_a_copy_is_a_word() -> None:
    copy = with_our_note(live(entry("velero", holds=True)))
    copy["metadata"]["managedFields"].append(entry("kubectl", holds=True, subresource="scale"))
    assert set_since(copy, REPLICAS, Witness(), cautious=False) == "kubectl"


MADE_AT = "2026-11-21T02:00:00Z"


@pytest.mark.fault(2)
@pytest.mark.parametrize(
    ("entries", "who", "cautious"),
    [
        ([entry("kubectl-create", holds=True, time=MADE_AT)], None, None),
        ([entry("velero", holds=True, time=MADE_AT), entry("label", time=AFTER)], None, "label"),
        (
            [entry("velero", holds=True, time=MADE_AT), entry("kubectl", holds=True, time=AFTER)],
            "kubectl",
            "kubectl",
        ),
    ],
)
def test_of_a_copy_only_what_was_written_after_it_was_made_is_its_owners_word(
    entries: Any, who: str | None, cautious: str | None
) -> None:
    copy = live(*entries)
    copy["metadata"]["creationTimestamp"] = MADE_AT
    assert set_since_creation(copy, REPLICAS, cautious=False) == who
    assert set_since_creation(copy, REPLICAS, cautious=True) == cautious
