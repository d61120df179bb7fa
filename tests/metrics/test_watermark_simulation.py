"""The watermark against a simulated API server whose every event is known.

The simulation keeps the ground truth: when each event happened and whether our store has it. It
batches, throttles, retries in parallel, drops and counts, crashes and restarts as an API server
does, and sinks acknowledge before they store and may die in between. After every step: each event
that happened at or before the watermark is stored, or a gap that ends at or after it is known.
"""

from __future__ import annotations

import heapq
import random  # noqa: TID251 a seed from hypothesis, for long and reproducible stories
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.core import watermark
from metrics.core.watermark import (
    CanaryReturn,
    LossReading,
    ServerSight,
    SightLimits,
    canary_returned,
    first_sight,
    loss_read,
    settle,
    sink_died,
)

START = datetime(2026, 11, 21, tzinfo=UTC)
HORIZON_SECONDS = 60.0
LIMITS = SightLimits(
    retry_horizon=timedelta(seconds=HORIZON_SECONDS),
    canary_timeout=timedelta(seconds=180),
    max_clock_offset=timedelta(seconds=5),
    max_clock_step=timedelta(seconds=2),
)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@dataclass(eq=False)
class Event:
    """One event, or a canary's."""

    happened: float
    is_canary: bool = False
    process: int = 0
    stored: bool = False


@dataclass(frozen=True)
class Attempt:
    """One sending of a batch by the API server process that holds it."""

    process: int
    batch: list[Event]
    first: float
    number: int = 1


@dataclass
class Weather:
    """How bad things are, as probabilities per decision."""

    attempt_fails: float
    acknowledged_lost: float  # the sink takes it, the API server hears nothing, sends again
    server_crash: float
    sink_crash: float
    slow_buffer: float
    reading_fails: float
    flush_fails: float


@dataclass
class World:
    """Time, the API server, the sink, and our knowledge."""

    chance: random.Random
    weather: Weather
    offset: float
    now: float = 0.0
    turn: int = 0
    todo: list[tuple[float, int, str, object]] = field(default_factory=list)
    buffer: list[Event] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    capacity: int = 40
    process: int = 0
    process_started: float = -1000.0
    lost: int = 0
    in_memory: list[Event] = field(default_factory=list)
    returns: list[CanaryReturn] = field(default_factory=list)
    readings: list[LossReading] = field(default_factory=list)
    sight: ServerSight = field(default_factory=lambda: first_sight(at(0)))

    def later(self, seconds: float, what: str, subject: object = None) -> None:
        self.turn += 1
        heapq.heappush(self.todo, (self.now + seconds, self.turn, what, subject))

    def happens(self, probability: float) -> bool:
        return self.chance.random() < probability

    # the API server

    def emit(self, event: Event) -> None:
        event.process = self.process
        self.events.append(event)
        if len(self.buffer) >= self.capacity:
            self.lost += 1
        else:
            self.buffer.append(event)

    def do_user(self, _: object) -> None:
        self.emit(Event(self.now))
        self.later(self.chance.expovariate(1.0), "user")

    def do_batch(self, process: object) -> None:
        if process != self.process:
            return
        if self.buffer:
            size = self.chance.randint(1, 10)
            batch, self.buffer = self.buffer[:size], self.buffer[size:]
            self.later(0.0, "attempt", Attempt(self.process, batch, self.now))
        pause = 30.0 if self.happens(self.weather.slow_buffer) else 1.0
        self.later(pause * self.chance.random(), "batch", self.process)

    def do_attempt(self, subject: object) -> None:
        assert isinstance(subject, Attempt)
        if subject.process != self.process:
            return  # died with its process, uncounted
        if not self.happens(self.weather.attempt_fails):
            self.sink_takes(subject.batch)
            if not self.happens(self.weather.acknowledged_lost):
                return
        wait = self.chance.uniform(1.0, 20.0)
        if subject.number == 5 or self.now + wait > subject.first + HORIZON_SECONDS:
            self.lost += len(subject.batch)
        else:
            self.later(wait, "attempt", replace(subject, number=subject.number + 1))

    def do_server_crash(self, _: object) -> None:
        if self.happens(self.weather.server_crash):
            self.process += 1
            self.process_started = self.now
            self.buffer.clear()
            self.lost = 0
            self.later(self.chance.uniform(2.0, 5.0), "batch", self.process)
        self.later(20.0, "server_crash")

    # we

    def sink_takes(self, batch: list[Event]) -> None:
        self.in_memory.extend(batch)
        for event in batch:
            if event.is_canary:
                received = event.happened + self.offset
                self.returns.append(
                    CanaryReturn(
                        sent_at=at(event.happened - 0.01),
                        answered_at=at(min(event.happened + 0.02, self.now)),
                        returned_at=at(self.now),
                        server_received_at=at(received),
                    )
                )

    def do_canary(self, _: object) -> None:
        self.emit(Event(self.now, is_canary=True))
        self.later(5.0, "canary")

    def do_reading(self, _: object) -> None:
        if not self.happens(self.weather.reading_fails):
            self.later(
                self.chance.random(),
                "read",
                LossReading(
                    sent_at=at(self.now),
                    received_at=at(self.now),
                    lost=self.lost,
                    process_started=self.process_started,
                ),
            )
        self.later(5.0, "reading")

    def do_read(self, subject: object) -> None:
        assert isinstance(subject, LossReading)
        self.readings.append(replace(subject, received_at=at(self.now)))

    def do_flush(self, _: object) -> None:
        self.later(1.0, "flush")
        if self.happens(self.weather.flush_fails):
            return
        for event in self.in_memory:
            event.stored = True
        self.in_memory.clear()
        sight = self.sight
        for reading in self.readings:
            sight, _gaps = loss_read(sight, reading, LIMITS)
        for canary in sorted(self.returns, key=lambda one: one.sent_at):
            sight, _gaps = canary_returned(sight, canary, at(self.now), LIMITS)
        self.readings.clear()
        self.returns.clear()
        self.sight = settle(sight, at(self.now), LIMITS)

    def do_sink_crash(self, _: object) -> None:
        if self.happens(self.weather.sink_crash):
            self.in_memory.clear()
            self.readings.clear()
            self.returns.clear()
            self.sight = sink_died(self.sight, at(self.now))
        self.later(15.0, "sink_crash")

    def check(self) -> None:
        mark = self.sight.watermark
        if mark is None:
            return
        for event in self.events:
            if not event.stored and at(event.happened) <= mark:
                gap_end = self.sight.gap_end
                open_gap = self.sight.blind_since is not None
                assert open_gap or (gap_end is not None and at(event.happened) <= gap_end), (
                    f"an event of {event.happened:.2f} is neither stored nor in a gap at "
                    f"{self.now:.2f}, although the watermark says {mark}"
                )
        # Stored, or known to be missing: nothing about these can change any more.
        gap_end = self.sight.gap_end or at(0)
        self.events = [e for e in self.events if not e.stored and at(e.happened) > gap_end]

    def __post_init__(self) -> None:
        for what in ("user", "canary", "reading", "flush", "server_crash", "sink_crash"):
            self.later(self.chance.random(), what)
        self.later(1.0, "batch", self.process)

    def run(self, seconds: float) -> None:
        while self.now < seconds:
            self.now, _, what, subject = heapq.heappop(self.todo)
            getattr(self, f"do_{what}")(subject)
            if what in {"flush", "sink_crash"}:
                self.check()


WEATHER = st.builds(
    Weather,
    attempt_fails=st.sampled_from([0.0, 0.3, 0.7]),
    acknowledged_lost=st.sampled_from([0.0, 0.2]),
    server_crash=st.sampled_from([0.0, 0.1]),
    sink_crash=st.sampled_from([0.0, 0.1, 0.5]),
    slow_buffer=st.sampled_from([0.0, 0.3]),
    reading_fails=st.sampled_from([0.0, 0.5, 0.95]),
    flush_fails=st.sampled_from([0.0, 0.3]),
)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), WEATHER, st.sampled_from([0.0, 3.0, -3.0]))
def test_no_event_at_or_before_the_watermark_is_unaccounted_for(
    seed: int, weather: Weather, offset: float
) -> None:
    world = World(chance=random.Random(seed), weather=weather, offset=offset)
    world.run(600.0)


def test_in_fair_weather_the_watermark_follows_closely_and_without_gaps() -> None:
    fair = Weather(0, 0, 0, 0, 0, 0, 0)
    world = World(chance=random.Random(1), weather=fair, offset=1.0)
    world.run(60.0)
    gap_end = world.sight.gap_end
    world.run(1200.0)
    mark = world.sight.watermark
    assert mark is not None
    assert mark > at(1200.0 - HORIZON_SECONDS - 20.0)
    assert world.sight.gap_end == gap_end
    assert watermark.blindness(world.sight, at(world.now), LIMITS) is None
