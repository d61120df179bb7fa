"""The API signal: what the audit streams of all API servers prove, and how far.

The request path (:mod:`sleeper.control.intake`) keeps in memory what arrives. It is flushed from
here (:mod:`sleeper.control.audit_flush`): one transaction stores activity, streams and returned
canaries, together with the watermarks that rest on them, so a stored watermark is true for whoever
reads it. A probe for each API server sends canaries and reads loss counters. Several replicas may
do all of this on the same database: each folds what any of them found, and what others stored is
read back.

A sender that is authenticated but not configured is heard (more evidence of use is always safe),
but nobody knows what it lost, so the whole signal is Unknown for an hour after it was last heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from metrics import store
from metrics.core import watermark
from metrics.core.activity import SpaceActivity
from metrics.core.audit import AuditRules
from metrics.core.clock import Clock
from metrics.core.instants import from_epoch, plus
from metrics.core.signals import OpenStream, SignalName, SignalView, UnheardStreams
from metrics.core.steps import Step, TimeLine
from metrics.core.streams import PodIsGone, StreamTable
from metrics.core.unheard import Known
from metrics.core.watermark import Blindness, LossReading, ServerSight, SightLimits
from metrics.recorder import Recorder
from sleeper.control.audit_flush import Advance, Arrivals, advance, store_pending
from sleeper.control.canary import ApiServerClient, Probe, own_user_name
from sleeper.control.intake import ActivityListener, AuditIntake
from sleeper.control.sink_session import SinkSession
from sleeper.store.engine import Database

STRANGER_HOLD: Final = timedelta(hours=1)
"""How long a sender that is not configured makes the signal Unknown after it was last heard."""

REREAD_OVERLAP: Final = timedelta(minutes=1)
"""Rows of other sinks are read again from so long before: their transactions may have been slow."""

CLOSED_KEPT: Final = timedelta(minutes=10)
"""Least time for which a stream's end is remembered: its opening may arrive later."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSignalSettings:
    """What an installation may set.

    Attributes:
        limits: horizon, timeouts and bounds of clocks.
        flush_interval: longest time between an event's arrival and its storage.
        canary_interval: between two canaries, and two loss readings, of one API server.
        request_timeout_seconds: of each of their requests.
        stream_bound: how long a stream without a known end holds.
        session_timeout: after that long without a flush another replica's sink is taken for dead.
        identity: this replica's name, unlike any other's.
        namespace: our own namespace.
    """

    limits: SightLimits
    flush_interval: timedelta
    canary_interval: timedelta
    request_timeout_seconds: float
    stream_bound: timedelta
    session_timeout: timedelta = timedelta(seconds=15)
    identity: str
    namespace: str


class ApiSignal:
    """The API signal as the verdict loop and the sink see it.

    Call :meth:`start`, then :meth:`run` until cancelled, then, with the sink closed, :meth:`close`.

    Args:
        apiservers: a client of each single API server, by the name in its webhook's URL.
        is_space: whether a namespace is a Space; says yes while nobody knows (at start).
        pod_is_gone: whether a Space's Pod is surely gone, for streams whose end was lost.
        line: who watches the wall clock.
    """

    def __init__(
        self,
        settings: ApiSignalSettings,
        *,
        apiservers: Mapping[str, ApiServerClient],
        rules: AuditRules,
        is_space: Callable[[str], bool],
        pod_is_gone: PodIsGone,
        database: Database,
        line: TimeLine,
        clock: Clock,
        recorder: Recorder,
    ) -> None:
        self._settings = settings
        self._limits = settings.limits
        self._is_space = is_space
        self._pod_is_gone = pod_is_gone
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._streams = StreamTable(
            bound=settings.stream_bound,
            closed_kept=max(3 * settings.limits.retry_horizon, CLOSED_KEPT),
        )
        self.intake = AuditIntake(
            apiservers=frozenset(apiservers),
            rules=rules,
            is_space=is_space,
            streams=self._streams,
            line=line,
            clock=clock,
            recorder=recorder,
        )
        self.probes = [
            Probe(
                apiserver=name,
                client=client,
                namespace=settings.namespace,
                database=database,
                clock=clock,
                timeout_seconds=settings.request_timeout_seconds,
            )
            for name, client in apiservers.items()
        ]
        self._session = SinkSession(identity=settings.identity, timeout=settings.session_timeout)
        self._line = line
        line.subscribe(self._clock_stepped)
        self._stepped_from: datetime | None = None
        self._of_this_line = True
        self._readings: list[tuple[str, LossReading]] = []
        self._sights: Mapping[str, ServerSight] = {}
        self._read_until: datetime | None = None
        self._others_ran = False
        self._began_at: datetime | None = None
        self._flushed_at: float | None = None

    # What the verdict loop asks

    def view(self, now: datetime) -> SignalView:
        """How far all API servers together have surely been seen."""
        sights = self._sights
        unknown, detail = self._why_unknown(now)
        marks = [watermark.trusted_until(sight) for sight in sights.values()]
        known = [mark for mark in marks if mark is not None]
        gap_ends = [sight.gap_end for sight in sights.values() if sight.gap_end is not None]
        gap_ends.extend(self.intake.strange_senders.values())
        return SignalView(
            name=SignalName.API,
            watermark=min(known) if known and len(known) == len(marks) else None,
            last_gap_end=max(gap_ends, default=None),
            unknown_because=unknown,
            unknown_detail=detail,
            unheard=tuple(self._unheard(now)),
        )

    def activity(self, space_name: str) -> SpaceActivity | None:
        """Latest proof of use of a Space through the API; None: none known."""
        return self.intake.activities.get(space_name)

    def streams(self, space_name: str, now: datetime) -> tuple[OpenStream, ...]:
        """Streams of a Space that are, or may still be, open."""
        return self._streams.open_in(space_name, now, self._pod_is_gone)

    def subscribe(self, listener: ActivityListener) -> None:
        """Be told of activity as it arrives, before it is stored."""
        self.intake.subscribe(listener)

    # Its life

    async def start(self) -> None:
        """Read what is stored and begin this sink's session."""
        await self.flush()

    async def run(self) -> None:
        """Flush and probe until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._flush_forever(), name="audit-flush")
            for probe in self.probes:
                tasks.create_task(self._probe_forever(probe), name=f"probe-{probe.apiserver}")

    async def close(self) -> None:
        """The last flush; without it the next start must assume that events were lost."""
        await self.flush(last=True)

    async def flush(self, *, last: bool = False) -> None:
        """Store what has arrived, and move the watermarks, in one transaction.

        A flush that fails loses nothing: it is taken back and comes with the next.
        """
        self._line.look()
        now = self._clock.now()
        taken = self.intake.take()
        readings, self._readings = self._readings, []
        stepped_from, self._stepped_from = self._stepped_from, None
        try:
            async with self._database.begin() as connection:
                if self._read_until is None:
                    await store.set_back_activity(
                        connection, SignalName.API, now=now, to=self._line.began
                    )
                await store_pending(connection, taken, now)
                roll = await self._session.renew(connection, flushed_until=now)
                # One that has ended cleanly since the last roll stored its last events in doing so.
                alone = not (roll.others or roll.died or self._others_ran)
                # Before anything is compared with what is known: others have heard streams, too.
                others = await self._read_others(connection, now, alone=alone)
                moved = await advance(
                    connection,
                    [probe.apiserver for probe in self.probes],
                    Arrivals(
                        pending=taken,
                        readings=tuple(readings),
                        stepped_from=stepped_from,
                        began_at=self._began_at,
                        known_streams=self._known_streams,
                    ),
                    roll=roll,
                    limits=self._limits,
                    stream_bound=self._settings.stream_bound,
                    now=now,
                )
                if last:
                    await self._session.end(connection)
        except BaseException:
            self.intake.put_back(taken)
            self._readings = readings + self._readings
            self._stepped_from = stepped_from or self._stepped_from
            raise
        self._others_ran = roll.others
        self._of_this_line = self._stepped_from is None
        self._publish(moved, others, now)

    def _unheard(self, now: datetime) -> Iterator[UnheardStreams]:
        """Streams whose opening no API server could tell us of, as long as they hold."""
        for name, sight in self._sights.items():
            for cohort in sight.unheard.cohorts:
                holds_until = plus(cohort.opened_before, self._settings.stream_bound)
                if now < holds_until:
                    yield UnheardStreams(
                        apiserver=name,
                        count=sum(cohort.counts.values()),
                        kinds=tuple(sorted(cohort.counts)),
                        opened_before=cohort.opened_before,
                        holds_until=holds_until,
                    )

    def _known_streams(self, apiserver: str, reading: LossReading) -> Known:
        """Streams that we know and that were open when an API server counted its own.

        Those of an earlier process of it ended with that, heard or not. Events are dated at the
        latest that their stamps allow, so both ends may have been a little earlier.
        """
        began = from_epoch(reading.process_started)
        offset, step = self._limits.max_clock_offset, self._limits.max_clock_step
        return Known(
            surely=self._streams.open_at(
                apiserver,
                since=plus(began, offset),
                began_by=reading.sent_at,
                open_until=plus(reading.received_at, step),
                pod_is_gone=self._pod_is_gone,
            ),
            maybe=self._streams.open_at(
                apiserver,
                since=plus(began, -offset),
                began_by=plus(reading.received_at, step),
                open_until=reading.sent_at,
                pod_is_gone=lambda *_: False,
            ),
        )

    async def _flush_forever(self) -> None:
        heartbeat = min(self._settings.session_timeout.total_seconds() / 3, 5.0)
        while True:
            await asyncio.sleep(self._settings.flush_interval.total_seconds())
            self._line.look()
            silent = self._clock.monotonic() - (self._flushed_at or 0.0)
            if not (self.intake.has_news or self._readings or silent >= heartbeat):
                continue
            try:
                await self.flush()
            except Exception as error:  # noqa: BLE001 whatever the database says, the next one counts
                _log.warning("audit_flush_failed", error=str(error))

    async def probe(self, probe: Probe) -> None:
        """Read one API server's loss counters and send it a canary.

        Raises:
            SleeperError: it could not be asked.
        """
        if self.intake.own_user is None:
            self.intake.own_user = await own_user_name(probe.client)
        self._readings.append((probe.apiserver, await probe.read_losses()))
        await probe.send_canary()

    async def _probe_forever(self, probe: Probe) -> None:
        while True:
            try:
                await self.probe(probe)
            except Exception as error:  # noqa: BLE001 a missing canary says it all, in the view
                _log.warning("probe_failed", apiserver=probe.apiserver, error=str(error))
            await asyncio.sleep(self._settings.canary_interval.total_seconds())

    def _clock_stepped(self, step: Step) -> None:
        self._stepped_from = max(step.expected, self._stepped_from or step.expected)
        self._of_this_line = False
        self._read_until = None  # others have stored at instants of another time line

    # One flush

    async def _read_others(
        self, connection: store.Connection, now: datetime, *, alone: bool
    ) -> Mapping[str, SpaceActivity]:
        """What other sinks, or our earlier self, have stored and we do not know yet."""
        if alone and self._read_until is not None:
            return {}
        since = self._read_until and self._read_until - REREAD_OVERLAP
        self._streams.extend(
            await store.load_streams(
                connection, started_since=now - self._settings.stream_bound, stored_since=since
            )
        )
        return await store.load_activity(connection, SignalName.API, stored_since=since)

    def _publish(self, moved: Advance, others: Mapping[str, SpaceActivity], now: datetime) -> None:
        """Make known what is committed, at once and without waiting."""
        self._sights = moved.sights
        self._began_at = self._began_at or now
        self._read_until = now
        self._flushed_at = self._clock.monotonic()
        self.intake.learn(others)
        self.intake.forget_spaces(lambda name: not self._is_space(name))
        self._streams.expire(now)
        self.intake.offsets = {
            name: sight.last_return.offset
            for name, sight in moved.sights.items()
            if sight.last_return is not None
            and sight.last_return.offset.least <= self._limits.max_clock_offset
        }
        for name, gap in moved.gaps:
            _log.warning("signal_gap", apiserver=name, reason=gap.reason, until=gap.until)
            self._recorder.signal_gap(SignalName.API, name, gap.reason)
        for name, sight in moved.sights.items():
            if sight.watermark is not None:
                self._recorder.signal_watermark(SignalName.API, name, sight.watermark)
            blind = watermark.blindness(sight, now, self._limits)
            self._recorder.signal_unknown(SignalName.API, name, blind[0] if blind else None)

    def _why_unknown(self, now: datetime) -> tuple[str | None, str]:
        if not self.probes:
            return Blindness.NO_APISERVER, "no API server is configured (api_signal.apiservers)"
        if not self._sights:
            return Blindness.NOT_STARTED, "nothing has been read from the database yet"
        if not self._of_this_line:
            # A watermark of the other time line may lie in the future, and so would the horizon.
            return Blindness.CLOCK_STEP, "the wall clock was stepped a moment ago"
        for name, heard_at in self.intake.strange_senders.items():
            if now - heard_at <= STRANGER_HOLD:
                return (
                    Blindness.UNKNOWN_SENDER,
                    f"{name!r} sends audit batches but is not in api_signal.apiservers",
                )
        for name, sight in self._sights.items():
            blind = watermark.blindness(sight, now, self._limits)
            if blind is not None:
                return blind[0], f"API server {name!r}: {blind[1]}"
        return None, ""
