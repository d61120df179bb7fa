"""The wall clock is set back, or forward, under a daemon with Spaces that sleep or are about to.

Awake, asleep and on the way there: nothing stays as it is until the clock has caught up, and
nothing sleeps sooner.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from metrics import store
from metrics.core.signals import SignalName
from metrics.core.watermark import Blindness
from sleeper.control.assess import Assessor
from sleeper.control.book import SpaceBook
from sleeper.control.signals import SignalBoard
from sleeper.control.sink_session import SinkSession
from sleeper.core.policy import PolicyDefaults
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.verdict import VerdictKind
from sleeper.store.engine import Database
from sleeper.store.spaces import SpaceState
from tests.control.test_api_signal import HandClock, Stage
from tests.control.test_loop import World
from tests.control.test_traffic_signal import Played, replica
from tests.support.audit_events import body, event

pytestmark = pytest.mark.fault(12)

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
SLEPT = ("sleep", "a", Reason.IDLE)


# What the loop remembers


@pytest.mark.parametrize("by", [-MINUTE, -365 * 24 * HOUR, MINUTE, HOUR])
async def test_a_touch_wakes_a_sleeping_space_whatever_became_of_the_clock(by: timedelta) -> None:
    world = World()
    world.add("a")
    async with world.running():
        world.later(hours=1, seconds=1)
        await world.flown(SLEPT)
        world.clock.step(by)
        world.later(seconds=1)
        await world.settled()
        assert world.flights.flown == [SLEPT], "a step alone wakes nobody"
        world.later(seconds=1)
        world.api.touch("a")
        await world.flown(SLEPT, ("wake", "a", Reason.TOUCHED))


async def test_a_touch_that_the_sleep_was_decided_on_does_not_wake_when_the_clock_catches_up() -> (
    None
):
    world = World()
    world.add("a")
    async with world.running():
        world.api.touch("a")
        world.later(hours=1, seconds=1)
        await world.flown(SLEPT)
        world.clock.step(-30 * MINUTE)
        for _ in range(5):
            world.later(minutes=10)
            await world.settled()
        assert world.flights.flown == [SLEPT]


async def test_a_sleep_under_way_is_overdue_in_time_though_the_clock_was_set_back() -> None:
    """Nobody holds the Lease: without its deadline the Space would stay half asleep."""
    world = World()
    world.add("a")
    async with world.running():
        world.later(hours=1, seconds=1)
        await world.flown(SLEPT)
        world.leading = False
        whole = world.cluster.records["uid-a"]
        world.cluster.records["uid-a"] = replace(
            whole, phase=PowerState.FALLING_ASLEEP, sleeping_since=None
        )
        world.later(seconds=1)
        await world.settled()
        world.clock.step(-5 * HOUR)
        world.later(minutes=10)
        await world.settled()
        assert world.flights.flown == [SLEPT]
        world.later(minutes=2)
        await world.flown(SLEPT, ("wake", "a", Reason.FALLING_ASLEEP_TIMED_OUT))


@pytest.mark.parametrize("by", [-5 * HOUR, 4 * MINUTE])
async def test_a_failed_sleep_is_tried_again_after_its_pause(by: timedelta) -> None:
    world = World()
    world.add("a")
    world.flights.fails = True
    async with world.running():
        world.later(hours=1, seconds=1)
        await world.flown(SLEPT)
        world.clock.step(by)
        world.later(minutes=4, seconds=50)
        await world.settled()
        assert world.flights.flown == [SLEPT]
        if by < timedelta():
            world.later(hours=1, seconds=1)  # its idle time has to be seen again
        world.later(seconds=20)
        await world.flown(SLEPT, SLEPT)


@pytest.mark.parametrize("by", [9 * MINUTE, HOUR])
async def test_a_clock_set_forward_shortens_no_notice(by: timedelta) -> None:
    world = World(notice=timedelta(minutes=10))
    world.add("a")
    async with world.running():
        world.later(minutes=50, seconds=1)
        await world.settled()
        world.later(seconds=1)
        await world.settled()
        assert world.book.pages()["uid-a"].noticed_at is not None
        world.clock.step(by)
        world.later(minutes=9, seconds=50)
        await world.settled()
        assert world.flights.flown == []
        world.later(seconds=15)
        await world.flown(SLEPT)


def assessor(world: World, book: SpaceBook) -> Assessor:
    return Assessor(
        inventory=world.cluster,
        records=world.cluster,
        board=SignalBoard({SignalName.API: world.api}, None),
        book=book,
        routes=None,
        defaults=PolicyDefaults(sleep_after=HOUR, notice=timedelta()),
        protected_because=lambda _name: None,
        sleep_deadline=10 * MINUTE,
    )


async def test_a_touch_wakes_what_was_put_to_sleep_before_the_clock_was_set_back_and_we_began() -> (
    None
):
    world = World()
    world.add("a")
    async with world.running():
        world.later(hours=1, seconds=1)
        await world.flown(SLEPT)
    world.clock.step(-HOUR / 2)
    began = world.clock.now()
    book = SpaceBook({}, began=began)
    world.clock.at += SECOND
    world.api.touch("a")
    world.clock.at += SECOND
    seen = assessor(world, book).observe("a", world.clock.now())
    assert seen is not None
    assert (seen.verdict.kind, seen.verdict.reason) == (VerdictKind.WAKE_UP, Reason.TOUCHED)
    asked = assessor(world, SpaceBook({}, began=began)).assess("a", world.clock.now())
    assert asked is not None
    assert asked.verdict == seen.verdict


async def test_a_replica_whose_clock_is_a_little_behind_does_not_take_back_a_sleep() -> None:
    """It sees a horizon in the future, and an old touch that lies before it."""
    world = World()
    world.add("a")
    other = assessor(world, SpaceBook({}, began=world.clock.now()))
    other.observe("a", world.clock.now())
    world.clock.at += MINUTE
    world.api.touch("a")
    world.clock.at += MINUTE
    world.add("a", desired="asleep")
    async with world.running():
        await world.flown(("sleep", "a", Reason.DESIRED_ASLEEP))
    behind = world.clock.now() - SECOND
    for after in (0, 1, 2, 3600):
        seen = other.observe("a", behind + after * SECOND)
        assert seen is not None
        assert seen.verdict.kind is VerdictKind.STAY_ASLEEP


def test_what_is_stored_of_the_future_counts_as_now() -> None:
    world = World()
    now = world.clock.now()
    state = SpaceState(rules="r", rules_since=now + HOUR, woken_at=now + 2 * HOUR)
    book = SpaceBook({"u": state}, began=now)
    page = book.page("u", rules="r", record=None, now=now)
    assert page.state == SpaceState(rules="r", rules_since=now, woken_at=now)
    assert book.take_unsaved() == {"u": page.state}


async def test_an_end_of_hours_that_the_other_time_line_had_applied_comes_again() -> None:
    world = World()
    end = world.clock.now() + HOUR
    hours = "Mon-Sun 00:00-13:00"
    ahead = (end + HOUR).isoformat()
    world.add("a", awake_hours=hours, schedule_cursor=ahead)
    seen = assessor(world, SpaceBook({})).observe("a", world.clock.now())
    assert seen is not None
    assert seen.snapshot.cursor is None


# What the API signal remembers


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with await Database.open(f"sqlite+aiosqlite:///{tmp_path / 'sleeper.db'}") as opened:
        yield opened


@pytest.fixture
async def stage(database: Database, clock: HandClock) -> Stage:
    made = Stage(database, clock)
    await made.signal.start()
    await made.probe(times=10)
    return made


async def test_a_touch_after_the_clock_was_set_back_outweighs_those_before(
    stage: Stage, database: Database, clock: HandClock
) -> None:
    stage.receive(body([event(at=clock.now())]))
    await stage.signal.flush()
    clock.tick(1)
    clock.wall -= HOUR
    clock.tick(1)
    stage.receive(body([event(at=clock.now(), verb="delete")]))
    seen = stage.signal.activity("team-a")
    assert seen is not None
    assert seen.touch is not None
    assert (seen.touch.verb, seen.touch.at) == ("delete", clock.now())
    await stage.signal.flush()
    async with database.read() as connection:
        assert await store.load_activity(connection, SignalName.API) == {"team-a": seen}


async def test_a_touch_of_a_moment_ahead_outweighs_none_that_comes(
    stage: Stage, clock: HandClock
) -> None:
    """The clock was set back by too little to be called a step, or another replica's is ahead."""
    stage.receive(body([event(at=clock.now())]))
    clock.wall -= SECOND
    clock.tick(0.2)
    stage.receive(body([event(at=clock.now())]))
    seen = stage.signal.activity("team-a")
    assert seen is not None
    assert seen.latest.at == clock.now()


async def test_a_touch_of_the_other_time_line_is_not_later_than_the_step(
    stage: Stage, clock: HandClock
) -> None:
    stage.receive(body([event(at=clock.now())]))
    clock.tick(5)
    clock.wall -= HOUR
    before = clock.now() - 5 * SECOND
    await stage.signal.flush()
    for _ in range(3):
        clock.tick(1800)
        await stage.signal.flush()
        seen = stage.signal.activity("team-a")
        assert seen is not None
        assert seen.latest.at == before


async def test_a_late_event_counts_at_its_arrival_after_a_step_until_offsets_are_known_again(
    stage: Stage, clock: HandClock
) -> None:
    happened = clock.now()
    clock.tick(1)
    clock.wall += HOUR
    stage.receive(body([event(at=happened)]))
    seen = stage.signal.activity("team-a")
    assert seen is not None
    assert seen.latest.at == clock.now()


async def test_what_another_replica_stores_after_the_clock_was_set_back_is_read(
    stage: Stage, database: Database, clock: HandClock
) -> None:
    other = Stage(database, clock, identity="two")
    await other.signal.start()
    await stage.signal.flush()
    clock.tick(1)
    clock.wall -= HOUR
    await stage.signal.flush()
    clock.tick(120)
    other.receive(body([event(at=clock.now())]))
    await other.signal.flush()
    await stage.signal.flush()
    assert stage.signal.activity("team-a") is not None


async def test_a_sink_that_died_before_the_clock_was_set_back_is_missed(
    database: Database, clock: HandClock
) -> None:
    dead, ours = (
        SinkSession(identity=name, timeout=timedelta(seconds=15)) for name in ("dead", "ours")
    )
    async with database.begin() as connection:
        await dead.renew(connection, flushed_until=clock.now())
        clock.wall -= HOUR
        roll = await ours.renew(connection, flushed_until=clock.now())
    assert roll.died
    assert not roll.others


@pytest.mark.parametrize("by", [-HOUR, HOUR])
async def test_nothing_is_seen_by_a_watermark_of_the_other_time_line(
    stage: Stage, clock: HandClock, by: timedelta
) -> None:
    """It lies in the future, and the present would be taken for seen: whoever came is not known."""
    clock.wall += by
    stage.line.look()
    assert stage.unknown() == Blindness.CLOCK_STEP
    await stage.signal.flush()
    assert stage.unknown() == Blindness.CANARY_MISSING


async def test_the_signal_sees_again_soon_after_a_step(stage: Stage, clock: HandClock) -> None:
    for by in (-HOUR, HOUR):
        clock.tick(1)
        clock.wall += by
        await stage.signal.flush()
        assert stage.unknown() == Blindness.CANARY_MISSING
        await stage.probe(times=2)
        assert stage.unknown() is None


# What the traffic signal remembers


async def test_a_visit_after_the_clock_was_set_back_outweighs_those_before(
    database: Database,
) -> None:
    played = Played()
    signal = await replica(played, database)
    played.now_seconds = 1031.0
    await signal.poll()
    before = signal.activity("team-a")
    assert before is not None
    played.now_seconds, played.visited, played.set_back_seconds = 461.0, 450.0, 600.0
    played.line.look()
    seen = signal.view(played.now())
    assert seen.watermark is not None
    assert seen.watermark > played.now(), "it would be taken for the present"
    assert seen.unknown_because == "ClockStep"
    await signal.poll()
    after = signal.activity("team-a")
    assert after is not None
    assert before.latest.at > played.now() >= after.latest.at
    assert signal.view(played.now()).unknown_because is None
