"""How far one API server's audit stream has surely been seen: a pure state machine.

The question is when we may say "every event up to W has reached us, or is known to be lost".
What an API server does (``batch`` mode of its audit webhook):

- events enter one buffer in order; an event that finds it full is dropped and counted at once;
- batches leave the buffer in order, but then travel in parallel; each is retried on its own and
  in the end dropped and counted. From its first attempt to its end a batch takes at most the
  *retry horizon* R, a bound derived from the API server's flags;
- a process that dies loses what it holds, uncounted, and shows another start time afterwards.

*Canaries* are small requests of ours with an audit id of our choosing. Their events travel with
the others. *Loss readings* are the sum of ``apiserver_audit_error_total`` and the start time of
the process, from its ``/metrics``.

Why W is true: let canary k have been sent at s and its event have come back at r. Every event
emitted before s stood before k's event in the buffer, so its batch had been tried first by r, and
by r + R it was delivered, or dropped and counted. A loss reading asked for at m ≥ r + R counts
every such drop: unchanged start time and sum mean that nothing was lost, anything else is a gap
that ends at the reading. So W = s once r + R ≤ m. What was delivered must also be *stored* before
anyone relies on it: every running sink must have flushed later than r + R. And an API server is
only believed while canaries come back, so r + R must also lie before the send time of the last
one returned. W is thus never later than the last returned canary's send time less R.

::

                        canary sent after `blind_since` returned, and
                              a loss reading is at hand
      ┌────────┐  ──────────────────────────────────────────────────►  ┌─────────┐
      │ blind  │                                                       │  sees   │ W advances by
      └────────┘  ◄──────────────────────────────────────────────────  └─────────┘ settle()
       W stands;        a sink died with unflushed events                   │  ▲
       Unknown                                                              │  │ canary or reading
                                  canary_timeout without a canary or a      ▼  │ comes again: lag,
                                  reading, or an offset out of bounds:   Unknown, but no gap
                                                                            W stands

Losses (a reading, a shed or undecodable batch, a step of a clock) are gaps with a known end: they
raise ``gap_end`` and leave the state as it is. Evidence is kept at both ends: an event counts at
the latest instant that its time stamp allows, and never later than its arrival.

All instants are on our wall clock unless named otherwise; times of the API server are brought to
it by the offset that each canary measures (request sent ≤ received by the server ≤ answered).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, TypeVar

from metrics.core.instants import plus
from metrics.core.unheard import Known, Unheard, compared, is_compared

START_TIME_JITTER_SECONDS: Final = 1.5
"""The kernel's boot time, on which a process's start time rests, moves by a second when the clock
is disciplined. No API server lives and is replaced within less."""

_T = TypeVar("_T")

MAX_UNCOMPARED: Final = 200
"""Readings that wait for the watermark; of more every second one gives way, and never the oldest:
where so many come within the horizon, none would ever be old enough."""

MAX_UNSETTLED: Final = 1_000
"""Returned canaries that are remembered until they settle; of more the same."""


class GapReason(StrEnum):
    """Why something may have been lost for ever."""

    FIRST_START = "FirstStart"
    EVENTS_LOST = "EventsLost"
    CANARY_LOST = "CanaryLost"
    APISERVER_RESTARTED = "ApiserverRestarted"
    SINK_DIED = "SinkDied"
    SHED = "Shed"
    UNDECODABLE = "Undecodable"
    CLOCK_STEP = "ClockStep"
    APISERVER_CLOCK_STEP = "ApiserverClockStep"


class Blindness(StrEnum):
    """Why an API server's stream, or the signal as a whole, cannot be trusted at present."""

    FIRST_START = "FirstStart"
    SINK_DIED = "SinkDied"
    CANARY_MISSING = "CanaryMissing"
    LOSS_COUNTER_UNREAD = "LossCounterUnread"
    CLOCK_OFFSET = "ClockOffset"
    CLOCK_STEP = "ClockStep"
    UNKNOWN_SENDER = "UnknownSender"
    NO_APISERVER = "NoApiserver"
    NOT_STARTED = "NotStarted"


@dataclass(frozen=True, slots=True, kw_only=True)
class SightLimits:
    """What an installation says about its API servers.

    Attributes:
        retry_horizon: longest life of a batch from its first attempt (R).
        canary_timeout: longest silence of canaries or loss readings.
        max_clock_offset: most that an API server's clock may be off ours.
        max_clock_step: most that a clock may move between two looks.
    """

    retry_horizon: timedelta
    canary_timeout: timedelta
    max_clock_offset: timedelta
    max_clock_step: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A stretch in which events may have been lost. It counts as activity at its end.

    Attributes:
        reason: why.
        since: the earliest event that may be missing; None: not known.
        until: the latest event that may be missing.
    """

    reason: GapReason
    since: datetime | None
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Offset:
    """API server's clock less ours: it lies between ``low`` and ``high``."""

    low: timedelta
    high: timedelta

    @property
    def least(self) -> timedelta:
        """The smallest amount, regardless of sign, that the clocks may be apart."""
        if self.low <= timedelta() <= self.high:
            return timedelta()
        return min(abs(self.low), abs(self.high))

    def agrees(self, other: Offset, tolerance: timedelta) -> bool:
        """Whether both can be true of clocks that moved by no more than ``tolerance``."""
        return self.low - tolerance <= other.high and other.low - tolerance <= self.high

    def latest(self, server_time: datetime) -> datetime:
        """The latest instant of ours that the server's time stamp can mean."""
        return plus(server_time, -self.low)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryReturn:
    """A canary whose event has come back.

    Attributes:
        sent_at: before the request was sent.
        answered_at: when its response was read, or the event's arrival if that came first.
        returned_at: when its event reached a sink.
        server_received_at: when the API server received the request, on its own clock.
    """

    sent_at: datetime
    answered_at: datetime
    returned_at: datetime
    server_received_at: datetime

    @property
    def offset(self) -> Offset:
        """What this canary says about the API server's clock."""
        return Offset(
            low=self.server_received_at - self.answered_at,
            high=self.server_received_at - self.sent_at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LossReading:
    """One look at an API server's loss counters.

    Attributes:
        sent_at, received_at: before the request, after the response.
        lost: sum of the loss counters since the process began.
        process_started: start time of the process in Unix seconds, on the server's clock.
        open: how many streams of each kind it serves; None: it does not show that.
    """

    sent_at: datetime
    received_at: datetime
    lost: float
    process_started: float
    open: dict[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSight:
    """Everything about one API server that must survive a restart.

    Attributes:
        watermark: W; None: nothing is known yet.
        gap_end: end of the last gap.
        blind_since: since when a gap is open; it ends with the first canary sent after.
        blind_because: why.
        unsettled: returned canaries that may still raise W, by send time.
        last_return: the last sent of those that returned.
        loss: the last good reading.
        uncompared: readings whose open streams are not compared with what is known yet.
        unheard: what comparing them has told.
    """

    watermark: datetime | None = None
    gap_end: datetime | None = None
    blind_since: datetime | None = None
    blind_because: Blindness | None = None
    unsettled: tuple[CanaryReturn, ...] = ()
    last_return: CanaryReturn | None = None
    loss: LossReading | None = None
    uncompared: tuple[LossReading, ...] = ()
    unheard: Unheard = field(default_factory=Unheard)


Change = tuple[ServerSight, tuple[Gap, ...]]
"""The new state, and the gaps that were found."""


def first_sight(now: datetime) -> ServerSight:
    """An API server that was never seen before: whatever happened until now is unknown."""
    return ServerSight(blind_since=now, blind_because=Blindness.FIRST_START)


def canary_returned(
    sight: ServerSight, canary: CanaryReturn, now: datetime, limits: SightLimits
) -> Change:
    """A canary came back; ``now`` is when its offset comes into use."""
    last = sight.last_return
    if canary.returned_at < canary.sent_at or (last and canary.sent_at <= last.sent_at):
        return sight, ()  # overtaken, or our clock was set back under way
    gaps: list[Gap] = []
    if last and not last.offset.agrees(canary.offset, limits.max_clock_step):
        gaps.append(Gap(reason=GapReason.APISERVER_CLOCK_STEP, since=last.sent_at, until=now))
    sight = replace(sight, last_return=canary)
    if canary.offset.least <= limits.max_clock_offset:
        waiting = _thinned(sight.unsettled, MAX_UNSETTLED)
        sight = replace(sight, unsettled=(*waiting, canary))
    blind_since = sight.blind_since
    if blind_since and canary.sent_at >= blind_since and sight.loss is not None:
        reason = GapReason(sight.blind_because or Blindness.FIRST_START)
        gaps.append(Gap(reason=reason, since=sight.watermark, until=canary.sent_at))
        sight = replace(sight, blind_since=None, blind_because=None)
    return _with_gaps(sight, gaps)


def loss_read(sight: ServerSight, reading: LossReading, limits: SightLimits) -> Change:
    """The loss counters were read; a reading that overlaps the last one says nothing new."""
    last = sight.loss
    if last is None:
        gap = Gap(reason=GapReason.FIRST_START, since=None, until=reading.received_at)
        return _with_gaps(_counted(replace(sight, loss=reading), reading), [gap])
    if reading.sent_at < last.received_at:
        return sight, ()
    restarted = abs(reading.process_started - last.process_started) > START_TIME_JITTER_SECONDS
    gaps: list[Gap] = []
    if restarted or reading.lost != last.lost:
        reason = GapReason.APISERVER_RESTARTED if restarted else GapReason.EVENTS_LOST
        since = last.sent_at - limits.retry_horizon
        gaps.append(Gap(reason=reason, since=since, until=reading.received_at))
    if restarted:  # its streams ended with it
        sight = replace(sight, uncompared=(), unheard=Unheard())
    sight = replace(sight, loss=reading)
    if reading.open is None and last.open is not None and not restarted:
        return _with_gaps(sight, gaps)  # a text that could not be read; the next one may tell
    return _with_gaps(_counted(sight, reading), gaps)


def _counted(sight: ServerSight, reading: LossReading) -> ServerSight:
    """Keep a reading's open streams until they can be compared."""
    if reading.open is None:
        # As good as compared: nothing more will ever be told.
        unheard = replace(sight.unheard, excess={}, ended={}, compared_at=reading.received_at)
        return replace(sight, uncompared=(), unheard=unheard)
    return replace(sight, uncompared=(*_thinned(sight.uncompared, MAX_UNCOMPARED), reading))


def _thinned(waiting: tuple[_T, ...], most: int) -> tuple[_T, ...]:
    """With room for one more."""
    return waiting if len(waiting) < most else waiting[::2]


def streams_compared(
    sight: ServerSight, known: Callable[[LossReading], Known], bound: timedelta
) -> ServerSight:
    """Compare what the API server counts with what we know, where no event is on its way any more.

    Args:
        sight: the state, settled.
        known: of the streams that we know, those that were open at a reading.
        bound: how long what was not heard holds.
    """
    seen_until, gap_end = sight.watermark, sight.gap_end
    usable = [r for r in sight.uncompared if gap_end is None or r.sent_at >= gap_end]
    if sight.blind_since is not None or seen_until is None:
        return sight
    unheard = sight.unheard
    ready = [r for r in usable if r.received_at <= seen_until and r.open is not None]
    # The latest alone: after a long lag hundreds are ready, and each look at what we know is dear.
    for reading in ready[-1:]:
        unheard = compared(
            unheard,
            gauge=reading.open or {},
            known=known(reading),
            at=reading.received_at,
            gap_end=gap_end,
            bound=bound,
        )
    waiting = tuple(r for r in usable if r.received_at > seen_until)
    if waiting == sight.uncompared and unheard is sight.unheard:
        return sight
    return replace(sight, uncompared=waiting, unheard=unheard)


def trusted_until(sight: ServerSight) -> datetime | None:
    """The watermark; not beyond the last gap until it is known what was opened in it."""
    if sight.watermark is None or sight.gap_end is None:
        return sight.watermark
    if is_compared(sight.unheard, sight.gap_end):
        return sight.watermark
    return min(sight.watermark, sight.gap_end)


def settle(sight: ServerSight, flushed_until: datetime, limits: SightLimits) -> ServerSight:
    """Raise W as far as the proof goes.

    Args:
        sight: the state.
        flushed_until: everything that any running sink received before this instant is stored
            (in the transaction that stores the result, or earlier).
        limits: the horizon.
    """
    if sight.last_return is None or sight.loss is None:
        return sight
    proven = min(sight.last_return.sent_at, sight.loss.sent_at, flushed_until)
    proven -= limits.retry_horizon
    settled = [c for c in sight.unsettled if c.returned_at <= proven]
    if not settled:
        return sight
    newest = max(c.sent_at for c in settled)
    return replace(
        sight,
        watermark=newest if sight.watermark is None else max(sight.watermark, newest),
        unsettled=tuple(c for c in sight.unsettled if c.sent_at > newest),
    )


def events_missing(
    sight: ServerSight, reason: GapReason, *, since: datetime | None, until: datetime
) -> Change:
    """Something that had arrived was shed or could not be read."""
    return _with_gaps(sight, [Gap(reason=reason, since=since, until=until)])


def sink_died(sight: ServerSight, now: datetime) -> ServerSight:
    """A sink ended without its last flush: what it had acknowledged may be lost.

    The gap stays open until a canary sent later returns.
    """
    if sight.blind_since and sight.blind_since >= now:
        return sight
    because = sight.blind_because or Blindness.SINK_DIED
    return replace(sight, blind_since=now, blind_because=because)


def clock_stepped(sight: ServerSight, *, before: datetime, now: datetime) -> Change:
    """Our wall clock moved against monotonic time, from ``before`` to ``now``.

    Instants of the two time lines cannot be compared, so all proofs begin anew. The gap ends on
    the later of both, and not before W: a clock set back must not make anything look older.
    """
    until = max(before, now, sight.watermark or now)
    loss = sight.loss and replace(sight.loss, sent_at=now, received_at=now)
    began_anew = replace(sight, unsettled=(), last_return=None, loss=loss, uncompared=())
    if now < before:
        began_anew = replace(began_anew, unheard=sight.unheard.set_back(now))
    if began_anew.blind_since is not None:
        began_anew = replace(began_anew, blind_since=now)
    return _with_gaps(began_anew, [Gap(reason=GapReason.CLOCK_STEP, since=None, until=until)])


def ahead_of(sight: ServerSight, now: datetime, limits: SightLimits) -> datetime | None:
    """The latest instant of the proofs, where it lies in the future; None: none does.

    Proofs of the future were stored before the clock was set back while nobody was there to see
    it. They would outlast every canary that is missing now.
    """
    last, loss = sight.last_return, sight.loss
    instants = [
        sight.blind_since,
        None if last is None else max(last.sent_at, last.returned_at),
        None if loss is None else max(loss.sent_at, loss.received_at),
    ]
    latest = max((at for at in instants if at is not None), default=now)
    return latest if latest > now + limits.max_clock_step else None


def blindness(
    sight: ServerSight, now: datetime, limits: SightLimits
) -> tuple[Blindness, str] | None:
    """Why the stream cannot be trusted at ``now``, with a sentence for people; None: it can."""
    last, loss = sight.last_return, sight.loss
    if sight.blind_because is not None:
        sentence = {
            Blindness.FIRST_START: "nothing is known of it yet: waiting for the first canary",
            Blindness.SINK_DIED: "a sink ended without its last flush: waiting for a canary",
        }
        return sight.blind_because, sentence[sight.blind_because]
    if last is None or now - last.sent_at > limits.canary_timeout:
        ago = "none has returned" if last is None else f"the last was sent {last.sent_at:%FT%TZ}"
        return Blindness.CANARY_MISSING, f"its audit batches do not reach us ({ago})"
    if loss is None or now - loss.sent_at > limits.canary_timeout:
        return Blindness.LOSS_COUNTER_UNREAD, "its /metrics cannot be read"
    if last.offset.least > limits.max_clock_offset:
        seconds = last.offset.least.total_seconds()
        allowed = limits.max_clock_offset.total_seconds()
        return (
            Blindness.CLOCK_OFFSET,
            f"its clock is {seconds:.1f} s off ours, more than {allowed:g} s",
        )
    return None


def _with_gaps(sight: ServerSight, gaps: list[Gap]) -> Change:
    ends = [gap.until for gap in gaps]
    if sight.gap_end is not None:
        ends.append(sight.gap_end)
    return replace(sight, gap_end=max(ends, default=None)), tuple(gaps)
