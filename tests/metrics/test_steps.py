"""Steps of the wall clock: seen at the next look, and what was noted before brought over."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.core.activity import SpaceActivity
from metrics.core.signals import Activity, ActorClass, SignalName
from metrics.core.steps import Step, TimeLine
from metrics.core.streams import StreamRecord, StreamTable

pytestmark = pytest.mark.fault(12)

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@dataclass
class HandClock:
    wall: datetime = START
    seconds: float = 0.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    def tick(self, seconds: float, *, step: float = 0.0) -> None:
        self.seconds += seconds
        self.wall += timedelta(seconds=seconds + step)


def watched(clock: HandClock) -> tuple[TimeLine, list[Step]]:
    line, steps = TimeLine(clock, limit=2 * SECOND), list[Step]()
    line.subscribe(steps.append)
    return line, steps


def test_time_that_merely_passes_is_no_step() -> None:
    clock = HandClock()
    line, steps = watched(clock)
    for _ in range(10):
        clock.tick(3600, step=1.5)
        line.look()
    assert steps == []
    assert line.began == START


@pytest.mark.parametrize("by", [-3600.0, -3.0, 3.0, 3600.0])
def test_a_step_is_told_once_with_the_beginning_of_the_new_time_line(by: float) -> None:
    clock = HandClock()
    line, steps = watched(clock)
    clock.tick(10, step=by)
    line.look()
    line.look()
    (step,) = steps
    assert step.by == timedelta(seconds=by)
    assert step.expected == START + 10 * SECOND
    assert step.now == clock.now()
    assert step.began == line.began == step.now - 10 * SECOND
    assert step.back is (by < 0)


def activity(seconds: int, actor: ActorClass = ActorClass.HUMAN) -> Activity:
    return Activity(
        at=START + seconds * SECOND,
        signal=SignalName.API,
        source="cp-1",
        actor=actor,
        verb="get",
        resource="pods",
    )


spans = st.integers(-100, 100)


@given(spans, st.none() | spans, spans)
def test_activity_is_never_later_than_the_instant_it_is_set_back_to(
    latest: int, touch: int | None, at: int
) -> None:
    touched = None if touch is None else activity(touch)
    known = SpaceActivity(latest=activity(latest, ActorClass.WEB), touch=touched)
    found = known.not_after(START + at * SECOND)
    assert found.latest.at == START + min(latest, at) * SECOND
    if touch is None:
        assert found.touch is None
    else:
        assert found.touch is not None
        assert found.touch.at == START + min(touch, at) * SECOND
    assert found.not_after(START + at * SECOND) is found


def test_a_stream_of_the_other_time_line_holds_no_longer_than_one_of_this() -> None:
    bound = timedelta(hours=4)
    table = StreamTable(bound=bound)
    record = StreamRecord(
        apiserver="one",
        audit_id="id",
        user="alice",
        space_name="team-a",
        resource="pods/exec",
        target="web-0",
        started_at=START + timedelta(days=365),
    )
    table.add(record)
    table.set_back(START)
    (held,) = table.open_in("team-a", START, lambda *_: False)
    assert held.holds_until == START + bound
    table.add(replace(record, started_at=START + SECOND, closed_at=START + SECOND))
    assert table.open_in("team-a", START + SECOND, lambda *_: False) == ()
