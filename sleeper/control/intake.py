"""Audit batches between their arrival and their flush: read, merged, bounded, and in memory only.

This is the request path of the sink. It runs in the event loop and never waits, because an API
server does not bound what it holds for a slow sink. What it holds grows with the number of Spaces
and open streams, not with the number of events. Whatever it cannot take it reports as missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog

from metrics.core.activity import SpaceActivity, later
from metrics.core.audit import (
    AuditEvent,
    AuditRules,
    Fate,
    ObjectRef,
    Reading,
    StreamEdge,
    is_refused,
)
from metrics.core.clock import Clock
from metrics.core.instants import parse
from metrics.core.signals import Activity, SignalName
from metrics.core.steps import Step, TimeLine
from metrics.core.streams import StreamKey, StreamRecord, StreamTable
from metrics.core.watermark import GapReason, Offset
from metrics.recorder import Recorder
from metrics.sources.audit import decode
from sleeper.core.restore import wrote_cautious

CANARY_PREFIX: Final = "sleeper-canary-"
"""Audit ids of our canaries begin so; the rest is random."""

FARTHEST_STAMP: Final = timedelta(days=1)
"""A time stamp so far from its event's arrival is none: no API server holds an event for so long,
and one whose clock is off by more than some seconds is not believed at all."""

MAX_SPACES: Final = 100_000
MAX_CANARIES: Final = 10_000
MAX_STRANGE_SENDERS: Final = 100

# Widths of the columns that these are stored in.
_WIDE: Final = 255
_AUDIT_ID: Final = 64
_VERB: Final = 64
_NAME: Final = 63

_log = structlog.get_logger(__name__)

ActivityListener = Callable[[str, Activity], None]
"""Called with the Space's name, in the loop's thread, at once; must be cheap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanarySeen:
    """A canary's event reached this sink."""

    audit_id: str
    apiserver: str
    returned_at: datetime
    server_received_at: datetime


@dataclass(slots=True, kw_only=True)
class Pending:
    """What has arrived and is not stored yet.

    Attributes:
        activities: by Space name.
        streams: by key, merged with all that was known of them.
        brief: which of them began since the last flush and hold no Space.
        canaries: canaries whose events arrived.
        missing: by API server and reason, until when events are missing.
    """

    activities: dict[str, SpaceActivity] = field(default_factory=dict)
    streams: dict[StreamKey, StreamRecord] = field(default_factory=dict)
    brief: set[StreamKey] = field(default_factory=set)
    canaries: list[CanarySeen] = field(default_factory=list)
    missing: dict[tuple[str, GapReason], datetime] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.activities or self.streams or self.canaries or self.missing)


class _News:
    """What one batch says of each Space: its latest use, and the latest write to be wary of."""

    def __init__(self) -> None:
        self.latest: dict[str, Activity] = {}
        self.writes: dict[str, Activity] = {}

    def has(self, verb: str, ref: ObjectRef, at: datetime) -> bool:
        """Whether an event adds nothing to what was taken."""
        known = self.latest.get(ref.namespace)
        return known is not None and known.at > at and not wrote_cautious(verb, ref.resource)

    def take(self, space_name: str, activity: Activity) -> None:
        """One event."""
        wary = wrote_cautious(activity.verb, activity.resource)
        for kept in (self.latest, self.writes) if wary else (self.latest,):
            known = kept.get(space_name)
            kept[space_name] = activity if known is None else later(known, activity)


class AuditIntake:
    """Takes batches and keeps what they prove until it is flushed.

    Args:
        apiservers: names of the API servers that are configured.
        rules: which events count.
        is_space: whether a namespace is a Space; while that is not known of any (at start) it
            must say yes, or events would be dropped that matter.
        streams: where open streams are kept.
        line: looked at with every batch, before anything in it is dated.
    """

    def __init__(
        self,
        *,
        apiservers: frozenset[str],
        rules: AuditRules,
        is_space: Callable[[str], bool],
        streams: StreamTable,
        line: TimeLine,
        clock: Clock,
        recorder: Recorder,
    ) -> None:
        self._apiservers = apiservers
        self._rules = rules
        self._is_space = is_space
        self._streams = streams
        self._line = line
        line.subscribe(self._clock_stepped)
        self._clock = clock
        self._recorder = recorder
        self._listeners: list[ActivityListener] = []
        self._pending = Pending()
        self._disbelieved = 0
        self.activities: dict[str, SpaceActivity] = {}
        """All that is known, by Space name; what is pending included."""
        self.offsets: Mapping[str, Offset] = {}
        """By API server, where it can be trusted: how its clock stands to ours."""
        self.own_user: str | None = None
        """User name under which our canaries are sent; None until it is known."""
        self.strange_senders: dict[str, datetime] = {}
        """Authenticated senders that are not configured, and when each was last heard."""

    @property
    def has_news(self) -> bool:
        """True while something waits to be flushed."""
        return bool(self._pending)

    def subscribe(self, listener: ActivityListener) -> None:
        """Be told of each Space's newest activity as batches arrive, before they are stored.

        And before it of a write of which a wake has to be wary, whatever came after that.
        """
        self._listeners.append(listener)

    def receive(self, apiserver: str, body: bytes | bytearray | memoryview) -> int:
        """Take one body, whatever it holds; returns the number of events that could be read."""
        try:
            return self._take_body(apiserver, body)
        except Exception:  # noqa: BLE001 see below
            # A fault of ours, on something that nobody has thought of. It must not end the
            # sender's connection, over which the good batches come too.
            _log.exception("audit_batch_not_taken", apiserver=apiserver)
            self.miss(apiserver, GapReason.UNDECODABLE)
            return 0

    def _take_body(self, apiserver: str, body: bytes | bytearray | memoryview) -> int:
        self._line.look()
        arrived_at = self._clock.now()
        if apiserver not in self._apiservers:
            self._note_stranger(apiserver, arrived_at)
        batch = decode(body)
        if batch.problem is not None or batch.broken:
            why = batch.problem or f"{batch.broken} of its items could not be read"
            _log.warning("audit_batch_unreadable", apiserver=apiserver, why=why)
            self.miss(apiserver, GapReason.UNDECODABLE)
        for event in batch.events:
            # Ids of API servers are hexadecimal and sort below: cheaper than to look at each.
            if event.audit_id >= CANARY_PREFIX:
                self._take_canary(apiserver, event, arrived_at)
        readings = self._rules.read(batch.events, self._is_space)
        news = _News()
        api, counted = SignalName.API, Fate.COUNTED  # enum look-ups are dear in a loop
        for event, ref, reading in readings.mattering:
            at = self._instant(apiserver, event.stage_timestamp, arrived_at)
            if reading.edge is not None:
                self._take_stream(apiserver, event, ref, reading, at)
            if reading.fate is not counted or reading.actor is None:
                continue
            if news.has(event.verb, ref, at):
                continue
            activity = Activity(
                at=at,
                signal=api,
                source=apiserver,
                actor=reading.actor,
                verb=event.verb[:_VERB],
                resource=_resource(ref),
            )
            news.take(ref.namespace, activity)
        for space_name, activity in news.latest.items():
            self._keep(apiserver, space_name, SpaceActivity.of(activity), arrived_at)
        self._tell(news)
        for reading, count in readings.counts.items():
            self._recorder.audit_event(reading.actor or "", reading.fate, count)
        if self._disbelieved:
            self._recorder.audit_stamps_disbelieved(self._disbelieved)
            _log.warning("audit_stamps_disbelieved", apiserver=apiserver, events=self._disbelieved)
            self._disbelieved = 0
        return len(batch.events)

    def _tell(self, news: _News) -> None:
        for told in (news.writes, news.latest):
            for space_name, activity in told.items():
                for listener in self._listeners:
                    listener(space_name, activity)

    def miss(self, apiserver: str, reason: GapReason) -> None:
        """Events that reached us until now are missing."""
        self._pending.missing[apiserver, reason] = self._clock.now()

    def take(self) -> Pending:
        """Everything pending, for one flush."""
        taken, self._pending = self._pending, Pending()
        return taken

    def put_back(self, taken: Pending) -> None:
        """The flush failed: merge what it took with what has arrived since."""
        newer, self._pending = self._pending, taken
        for space_name, activity in newer.activities.items():
            self._merge_into(self._pending.activities, space_name, activity)
        self._pending.streams.update(newer.streams)  # the newer is merged with the older already
        self._pending.canaries = (taken.canaries + newer.canaries)[-MAX_CANARIES:]
        self._pending.missing.update(newer.missing)

    def learn(self, activities: Mapping[str, SpaceActivity]) -> None:
        """Merge activity that is stored already: read at start, or flushed by other sinks."""
        for space_name, activity in activities.items():
            self._merge_into(self.activities, space_name, activity)

    def forget_spaces(self, is_gone: Callable[[str], bool]) -> None:
        """Drop activity of namespaces that are no Spaces any more, once it is stored."""
        stored = self.activities.keys() - self._pending.activities.keys()
        for space_name in filter(is_gone, stored):
            del self.activities[space_name]

    def _take_stream(
        self,
        apiserver: str,
        event: AuditEvent,
        ref: ObjectRef,
        reading: Reading,
        at: datetime,
    ) -> None:
        closes = reading.edge is StreamEdge.CLOSES
        record = StreamRecord(
            apiserver=apiserver,
            audit_id=event.audit_id[:_AUDIT_ID],
            user=event.effective_user[:_WIDE] if reading.holds else "",
            space_name=ref.namespace[:_NAME],
            resource=_resource(ref),
            target=ref.name[:_WIDE],
            started_at=at,
            closed_at=at if closes else None,
        )
        known = self._streams.get(record.key)
        if known is None and closes and is_refused(event):
            return  # it never was one, and anybody can be refused anything
        merged = self._streams.add(record)
        if merged is None or merged is known:
            return
        pending = self._pending
        if known is None and not closes and reading.fate is not Fate.COUNTED:
            pending.brief.add(record.key)
        elif merged.closed_at is not None and record.key in pending.brief:
            # Opened and ended since the last flush, and held nothing: nobody needs to know.
            pending.brief.remove(record.key)
            del pending.streams[record.key]
            return
        pending.streams[record.key] = merged

    def _take_canary(self, apiserver: str, event: AuditEvent, arrived_at: datetime) -> None:
        received_at = parse(event.request_received_timestamp)
        if (
            not event.audit_id.startswith(CANARY_PREFIX)
            or event.stage != "ResponseComplete"
            or event.user.username != self.own_user  # a name like ours can be chosen by anybody
            or received_at is None
            or len(self._pending.canaries) >= MAX_CANARIES
        ):
            return
        seen = CanarySeen(
            audit_id=event.audit_id[:_AUDIT_ID],
            apiserver=apiserver,
            returned_at=arrived_at,
            server_received_at=received_at,
        )
        self._pending.canaries.append(seen)

    def _clock_stepped(self, step: Step) -> None:
        """What was known of the other time line is brought to this one."""
        self.offsets = {}  # events count at their arrival until offsets are measured anew
        if not step.back:
            return
        for known in (self.activities, self._pending.activities):
            for space_name, activity in known.items():
                known[space_name] = activity.not_after(step.began)
        for name, heard_at in self.strange_senders.items():
            self.strange_senders[name] = min(heard_at, step.now)
        self._streams.set_back(step.began)

    def _keep(
        self, apiserver: str, space_name: str, activity: SpaceActivity, arrived_at: datetime
    ) -> None:
        if space_name not in self.activities and len(self.activities) >= MAX_SPACES:
            self.miss(apiserver, GapReason.SHED)
            return
        known = self.activities.get(space_name)
        merged = activity if known is None else known.not_after(arrived_at).merge(activity)
        if merged is not known:  # else it adds nothing to what is stored or waits to be
            self.activities[space_name] = self._pending.activities[space_name] = merged

    def _instant(self, apiserver: str, stamp: str, arrived_at: datetime) -> datetime:
        """The latest instant of ours at which the event can have happened.

        At its arrival, where there is no offset, or the stamp makes no sense.
        """
        offset = self.offsets.get(apiserver)
        if offset is None:
            return arrived_at
        server_time = parse(stamp)
        if server_time is None or abs(server_time - arrived_at) > FARTHEST_STAMP:
            self._disbelieved += 1
            return arrived_at
        return min(arrived_at, offset.latest(server_time))

    def _note_stranger(self, apiserver: str, at: datetime) -> None:
        if len(self.strange_senders) < MAX_STRANGE_SENDERS or apiserver in self.strange_senders:
            self.strange_senders[apiserver] = at

    @staticmethod
    def _merge_into(
        activities: dict[str, SpaceActivity], space_name: str, activity: SpaceActivity
    ) -> None:
        known = activities.get(space_name)
        activities[space_name] = activity if known is None else known.merge(activity)


def _resource(ref: ObjectRef) -> str:
    resource = f"{ref.resource}/{ref.subresource}" if ref.subresource else ref.resource
    return resource[:_WIDE]
