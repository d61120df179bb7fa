"""Reading audit bodies: never raises, never loses a good item beside a bad one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.sources.audit import decode
from tests.support.audit_events import body, event

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def test_the_fields_that_the_rules_read_are_read() -> None:
    (read,) = decode(body([event(subresource="exec", impersonated="bob")])).events
    assert read.effective_user == "bob"
    assert read.object_ref is not None
    assert (read.object_ref.resource, read.object_ref.subresource) == ("pods", "exec")
    assert read.annotations is not None
    assert read.annotations.decision == "allow"
    assert read.response_status is not None
    assert read.response_status.code == 200


BROKEN: list[dict[str, Any]] = [
    {"stage": 7},
    {"stage": "ResponseComplete", "user": "alice"},
    {"stage": "ResponseComplete", "objectRef": []},
    {"stage": "ResponseComplete", "responseStatus": {"code": "OK"}},
    {},
]


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_one_broken_item_does_not_cost_the_others(broken: dict[str, Any]) -> None:
    batch = decode(body([event(name="first"), broken, event(name="last")]))
    assert [e.object_ref.name for e in batch.events if e.object_ref] == ["first", "last"]
    assert batch.broken == 1
    assert batch.problem is None


@given(st.lists(JSON | st.builds(event, name=st.text(max_size=10))))
def test_good_items_survive_beside_anything(items: list[Any]) -> None:
    good = [item for item in items if isinstance(item, dict) and item.get("kind") == "Event"]
    batch = decode(body(items))
    ids = [e.audit_id for e in batch.events]
    assert [g["auditID"] for g in good] == [i for i in ids if i in {g["auditID"] for g in good}]
    assert len(batch.events) + batch.broken == len(items)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_a_problem_and_not_an_exception(text: bytes) -> None:
    batch = decode(text)
    assert batch.problem is not None
    assert batch.events == []


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{"stage":"\xff"}]}',
        body([event()], kind="PodList"),
        body([event()], apiVersion="audit.k8s.io/v1beta1"),
        body([event()])[:-20],
        b"",
    ],
    ids=["nested", "no-utf8", "other-kind", "other-version", "cut-off", "empty"],
)
def test_bodies_that_are_no_event_list_yield_nothing(text: bytes) -> None:
    batch = decode(text)
    assert batch.events == []
    assert batch.problem is not None or batch.broken


def test_a_list_without_items_is_an_empty_list() -> None:
    assert decode(body([], items=None)).problem is None
