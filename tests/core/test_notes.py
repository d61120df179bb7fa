"""Restore notes: written once, read with suspicion."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleeper.core.authorship import Witness
from sleeper.core.managed_fields import FieldOwner
from sleeper.core.notes import (
    MAX_EPOCH,
    CopiedNote,
    Disbelief,
    RestoreNote,
    encode_note,
    read_note,
)
from sleeper.core.record import FieldValue
from sleeper.core.workloads import KINDS
from sleeper.core.workloads.base import MAX_BELIEVED_REPLICAS

STATEFUL_SET = KINDS["StatefulSet"]
WHEN_SCALED = "/spec/persistentVolumeClaimRetentionPolicy/whenScaled"


def read(
    raw: str, recorded: dict[str, FieldValue] | None = None
) -> RestoreNote | CopiedNote | Disbelief:
    return read_note(
        raw, kind=STATEFUL_SET, object_uid="object", space_uid="space", recorded=recorded
    )


def genuine(**changes: Any) -> str:
    owner = {
        "manager": "helm",
        "operation": "Apply",
        "api": "apps/v1",
        "fields": ["/spec/replicas"],
    }
    note = {
        "v": 1,
        "space": "space",
        "epoch": 7,
        "uid": "object",
        "fields": {"/spec/replicas": 3, WHEN_SCALED: "Delete"},
        "owners": [owner],
    }
    return json.dumps(note | changes)


@given(
    replicas=st.one_of(st.none(), st.integers(0, MAX_BELIEVED_REPLICAS)),
    when_scaled=st.sampled_from(["Delete", "Retain"]),
    epoch=st.integers(1, 2**31),
    subresource=st.sampled_from(["", "scale"]),
    time=st.sampled_from([None, "2026-11-21T00:00:00Z"]),
    witness=st.one_of(
        st.none(),
        st.builds(
            Witness,
            applied=st.dictionaries(
                st.sampled_from(["/spec/replicas", WHEN_SCALED]), st.none() | st.integers(0, 9)
            ),
            written=st.sampled_from(["", "2026-11-21T00:00:00Z"]),
        ),
    ),
)
def test_what_was_written_is_read_back(
    replicas: int | None,
    when_scaled: str,
    epoch: int,
    subresource: str,
    time: str | None,
    witness: Witness | None,
) -> None:
    note = RestoreNote(
        space_uid="space",
        epoch=epoch,
        uid="object",
        fields={"/spec/replicas": replicas, WHEN_SCALED: when_scaled},
        owners=(
            FieldOwner(
                manager="helm",
                operation="Update",
                subresource=subresource,
                api_version="apps/v1",
                time=time,
                pointers=("/spec/replicas",),
            ),
        ),
        witness=witness,
    )
    assert read(encode_note(note)) == note


def test_a_genuine_note_is_believed() -> None:
    assert isinstance(read(genuine()), RestoreNote)


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        ("", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"v": 1}', "cannot be read"),
        (genuine(v=2), "format"),
        (genuine(patch=[{"op": "add"}]), "cannot be read"),
        (genuine(uid="another", fields={"/spec/template": 1}), "never changes"),
        (genuine(epoch=0), "epoch"),
        (genuine(epoch=MAX_EPOCH + 1), "epoch"),
        (genuine(epoch="7"), "cannot be read"),
        (genuine(fields={"/spec/replicas": 1_000_000}), "plausible"),
        (genuine(fields={"/spec/replicas": -1}), "plausible"),
        (genuine(fields={"/spec/replicas": True}), "plausible"),
        (genuine(fields={"/spec/replicas": "3"}), "plausible"),
        (genuine(fields={"/spec/replicas": 1.5}), "cannot be read"),
        (genuine(fields={"/spec/replicas": {"x": 1}}), "cannot be read"),
        (genuine(fields={"/spec/template/spec/hostNetwork": True}), "never changes"),
        (genuine(fields={"/metadata/finalizers": None}), "never changes"),
        (genuine(fields={WHEN_SCALED: "Destroy"}, owners=[]), "plausible"),
        (genuine(fields={}), "owner of a field"),
        (
            genuine(
                owners=[{"manager": "sleeper", "operation": "Update", "api": "v1", "fields": []}]
            ),
            "impossible owner",
        ),
        (
            genuine(owners=[{"manager": "x", "operation": "Own", "api": "v1", "fields": []}]),
            "impossible owner",
        ),
    ],
)
def test_a_forged_note_is_not_believed_and_the_sentence_says_why(raw: str, word: str) -> None:
    found = read(raw)
    assert isinstance(found, Disbelief)
    assert word in found.why


@pytest.mark.parametrize(
    ("foreign", "word"), [({"uid": "another"}, "object"), ({"space": "another"}, "Space")]
)
def test_a_plausible_note_of_another_object_is_a_copy_and_the_sentence_says_of_what(
    foreign: dict[str, str], word: str
) -> None:
    found = read(genuine(**foreign))
    assert isinstance(found, CopiedNote)
    assert found.note.fields == {"/spec/replicas": 3, WHEN_SCALED: "Delete"}
    assert word in found.why
    assert "another" in found.why


def test_more_replicas_than_a_note_may_ask_for_are_believed_if_the_record_says_so() -> None:
    many = MAX_BELIEVED_REPLICAS + 500
    raw = genuine(fields={"/spec/replicas": many})
    assert isinstance(read(raw), Disbelief)
    assert isinstance(read(raw, {"/spec/replicas": many}), RestoreNote)
    assert isinstance(read(raw, {"/spec/replicas": many - 1}), Disbelief)


@given(st.text())
def test_no_text_whatever_breaks_the_reader(raw: str) -> None:
    assert isinstance(read(raw), Disbelief)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(
    key=st.sampled_from(["v", "space", "epoch", "uid", "fields", "owners", "witness"]), value=_JSON
)
def test_no_json_in_any_member_breaks_the_reader_or_brings_another_field(
    key: str, value: Any
) -> None:
    found = read(genuine(**{key: value}))
    note = found.note if isinstance(found, CopiedNote) else found
    if isinstance(note, RestoreNote):
        assert all(STATEFUL_SET.switch(path) for path in note.fields)
