"""Bodies of the audit webhook: ``audit.k8s.io/v1`` EventLists, decoded into what the rules read.

One item that does not fit must not cost the others, so a list that cannot be decoded in one go is
decoded item by item. Decoding never raises: what could not be read is a number in the result.
"""

from __future__ import annotations

from typing import Final

import msgspec

from metrics.core.audit import AuditEvent

API_VERSION: Final = "audit.k8s.io/v1"
KIND: Final = "EventList"


class EventBatch(msgspec.Struct, frozen=True, gc=False):
    """What a body held.

    Attributes:
        events: the items that could be read.
        broken: number of items that could not.
        problem: why the body as a whole is no EventList; None: it is one.
    """

    events: list[AuditEvent]
    broken: int = 0
    problem: str | None = None


class _EventList(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    kind: str = ""
    api_version: str = ""
    items: list[AuditEvent] | None = None


class _RawList(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    kind: str = ""
    api_version: str = ""
    items: list[msgspec.Raw] | None = None


_LIST: Final = msgspec.json.Decoder(_EventList)
_RAW: Final = msgspec.json.Decoder(_RawList)
_EVENT: Final = msgspec.json.Decoder(AuditEvent)

_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for text that is no JSON, of another shape, no UTF-8, or nested too deep."""


def decode(body: bytes | bytearray | memoryview) -> EventBatch:
    """Read one body; never raises."""
    try:
        batch = _LIST.decode(body)
    except _UNREADABLE:
        return _decode_items(body)
    problem = _problem(batch.kind, batch.api_version)
    if problem is not None:
        return EventBatch(events=[], problem=problem)
    return EventBatch(events=batch.items or [])


def _decode_items(body: bytes | bytearray | memoryview) -> EventBatch:
    try:
        batch = _RAW.decode(body)
    except _UNREADABLE as error:
        return EventBatch(events=[], problem=f"not a list of events: {error}")
    problem = _problem(batch.kind, batch.api_version)
    if problem is not None:
        return EventBatch(events=[], problem=problem)
    events: list[AuditEvent] = []
    broken = 0
    for item in batch.items or ():
        try:
            events.append(_EVENT.decode(item))
        except _UNREADABLE:
            broken += 1
    return EventBatch(events=events, broken=broken)


def _problem(kind: str, api_version: str) -> str | None:
    if kind == KIND and api_version == API_VERSION:
        return None
    return f"expected {KIND} of {API_VERSION}, got {kind[:80]!r} of {api_version[:80]!r}"
