"""The verdict loop: decisions, book and board are real, flights are only noted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace as replace_struct

from metrics.core.activity import SpaceActivity
from metrics.core.refs import SpaceRef
from metrics.core.signals import Activity, ActorClass, SignalName, SignalView
from metrics.core.steps import TimeLine
from metrics.recorder import NullRecorder
from sleeper.control.assess import Assessment, Assessor
from sleeper.control.book import SpaceBook
from sleeper.control.dispatch import Pacing
from sleeper.control.flight_result import FlightResult
from sleeper.control.loop import VerdictLoop
from sleeper.control.signals import ActivityListener, SignalBoard
from sleeper.core import names
from sleeper.core.objects import (
    Deployment,
    DeploymentSpec,
    Metadata,
    Namespace,
    ScalableStatus,
    Service,
    ServiceSpec,
    SpaceObjects,
)
from sleeper.core.policy import PolicyDefaults
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import FreedRequests, SleepRecord
from sleeper.core.verdict import Verdict, VerdictKind
from tests.support.eventually import eventually

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
CREATED = "2026-03-01T00:00:00Z"
MARKER = "looked-at-after-all-others"
LONG_AGO = START - timedelta(days=1)


@dataclass
class SetClock:
    """A clock that stands until it is moved on, or stepped."""

    at: datetime = START
    stepped: timedelta = timedelta()

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return (self.at - self.stepped).timestamp()

    def step(self, by: timedelta) -> None:
        """Somebody sets the wall clock."""
        self.at += by
        self.stepped += by


@dataclass
class Api:
    """A signal that says what it is told to."""

    clock: SetClock
    unknown: str | None = None
    name: SignalName = SignalName.API
    activities: dict[str, SpaceActivity] = field(default_factory=dict)
    listeners: list[ActivityListener] = field(default_factory=list)
    behind: timedelta = timedelta()

    def view(self, now: datetime) -> SignalView:
        return SignalView(
            name=self.name,
            watermark=now - self.behind,
            last_gap_end=LONG_AGO,
            unknown_because=self.unknown,
            dated_late_by=timedelta(seconds=30),
        )

    def activity(self, space_name: str) -> SpaceActivity | None:
        return self.activities.get(space_name)

    def subscribe(self, listener: ActivityListener) -> None:
        self.listeners.append(listener)

    def touch(self, name: str, *, verb: str = "get", resource: str = "pods") -> None:
        activity = Activity(
            at=self.clock.now(),
            signal=SignalName.API,
            source="cp-1",
            actor=ActorClass.HUMAN,
            verb=verb,
            resource=resource,
        )
        self.activities[name] = SpaceActivity.of(activity)
        for listener in self.listeners:
            listener(name, activity)

    def visit(self, name: str, at: datetime) -> None:
        """The scrape at ``at`` showed a visit."""
        activity = Activity(
            at=at,
            signal=SignalName.TRAFFIC,
            source="traefik",
            actor=ActorClass.WEB,
            verb="request",
            resource="web",
        )
        self.activities[name] = SpaceActivity(latest=activity, touch=activity)
        for listener in self.listeners:
            listener(name, activity)


@dataclass
class Cluster:
    """Inventory and records, in memory."""

    objects: dict[str, SpaceObjects] = field(default_factory=dict)
    records: dict[str, SleepRecord] = field(default_factory=dict)
    synced: bool = True
    turns: asyncio.Event = field(default_factory=asyncio.Event)

    def space(self, name: str) -> SpaceObjects | None:
        if name == MARKER:
            self.turns.set()
        return self.objects.get(name)

    def all(self) -> Mapping[str, SleepRecord]:
        return self.records


@dataclass
class NotedFlights:
    """Flights that only say which ones were started."""

    world: World
    flown: list[tuple[str, str, Reason]] = field(default_factory=list)
    fails: bool = False
    blames: tuple[str, ...] = ()
    joins: bool = False
    breaks: bool = False
    refuses_to_wake: bool = False
    gives_way: bool = False
    unseen: bool = False
    stopped: bool = False
    stays_late: bool = False
    undone: int = 0
    late: set[str] = field(default_factory=set)
    copies: set[str] = field(default_factory=set)
    wary: list[bool] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    room: asyncio.Event | None = None
    _joined: bool = False

    def airborne(self, space_uid: str) -> PowerState | None:
        """WAKING once, when a wake has joined the undoing of a sleep that failed."""
        joined, self._joined = self._joined, False
        return PowerState.WAKING if joined else None

    async def sleep(self, space: SpaceRef, verdict: Verdict) -> FlightResult:
        self.flown.append(("sleep", space.name, verdict.reason))
        if self.room is not None:
            await self.room.wait()
        if self.gives_way:
            message = "a wake has overtaken it"
            return FlightResult(ok=False, reason=Reason.TOUCHED, message=message, gave_way=True)
        if self.stopped:
            self.world.leading = False
            self.world.loop.tell(space.name)  # its own writes are news, and fall into the lapse
            return FlightResult(ok=False, reason=Reason.NOT_LEADER, message="the Lease is gone")
        if self.unseen:
            return FlightResult(ok=True, reason=verdict.reason, message="it is asleep already")
        if self.fails:
            self._joined = self.joins
            return FlightResult(
                ok=False, reason=Reason.WRITE_DENIED, message="no", blamed=self.blames
            )
        assert verdict.sleep_horizon is not None
        self.world.scale(space.name, 0)
        self.world.cluster.records[space.uid] = SleepRecord(
            space_uid=space.uid,
            space_name=space.name,
            tenant=space.tenant,
            epoch=1,
            phase=PowerState.ASLEEP,
            reason=verdict.reason,
            horizon=verdict.sleep_horizon,
            decided_at=self.world.clock.now(),
            entries=(),
            freed=FreedRequests(cpu_millis=1, memory_bytes=1, pods=1),
            sleeping_since=self.world.clock.now(),
        )
        return FlightResult(ok=True, reason=verdict.reason, message="")

    async def wake(self, space_uid: str, reason: Reason, *, wary: bool = False) -> FlightResult:
        self.wary.append(wary)
        self.flown.append(("wake", self.world.cluster.records[space_uid].space_name, reason))
        if self.breaks:
            raise RuntimeError("a fault of ours")
        if self.refuses_to_wake:
            self.world.loop.tell_all()  # its own writes are news
            return FlightResult(ok=False, reason=Reason.WAKE_INCOMPLETE, message="no")
        if self.unseen:
            return FlightResult(ok=True, reason=reason, message="it is awake already")
        record = self.world.cluster.records.pop(space_uid)
        self.world.scale(record.space_name, 2)
        return FlightResult(ok=True, reason=reason, message="")

    def has_copies(self, space_name: str) -> bool:
        return space_name in self.copies

    async def bring_back_copies(self, space_name: str) -> bool:
        self.flown.append(("copies", space_name, Reason.RESTORED_WHILE_ASLEEP))
        if not self.fails:
            self.copies.discard(space_name)
        return not self.fails

    def holds_fields(self, space_name: str) -> bool:
        return space_name in self.held

    async def release_fields(self, space_name: str) -> None:
        self.flown.append(("release", space_name, Reason.LATE_WRITE))
        self.held.discard(space_name)

    def has_late_writes(self, space_name: str) -> bool:
        return space_name in self.late

    async def undo_late(self, space_name: str) -> None:
        self.undone += 1
        if not self.stays_late:
            self.late.discard(space_name)


@dataclass
class NotedHerald:
    """Tells nobody, but notes what it would have."""

    told: list[str] = field(default_factory=list)
    works: bool = True

    async def give_notice(self, assessment: Assessment) -> bool:
        self.told.append(f"notice {assessment.snapshot.space.name}")
        return self.works

    async def publish(self, assessment: Assessment) -> None:
        self.told.append(f"publish {assessment.snapshot.space.name}")

    async def release(self, assessment: Assessment) -> None:
        self.told.append(f"release {assessment.snapshot.space.name}")

    async def warn_of_label(self, namespace: Namespace) -> None:
        self.told.append(f"label {namespace.metadata.name}")


class World:
    """One loop and everything around it."""

    def __init__(self, *, leading: bool = True, **defaults: Any) -> None:
        self.clock = SetClock()
        self.cluster = Cluster()
        self.api = Api(self.clock)
        self.leading = leading
        self.flights = NotedFlights(self)
        self.herald = NotedHerald()
        self.powers: list[tuple[str, PowerState]] = []
        self.book = SpaceBook({})
        self.web = Api(self.clock, name=SignalName.TRAFFIC)
        self.board = SignalBoard({SignalName.API: self.api, SignalName.TRAFFIC: self.web}, None)
        self.defaults = replace(
            PolicyDefaults(sleep_after=timedelta(hours=1), notice=timedelta()), **defaults
        )
        self.restart()

    def restart(self) -> None:
        """Another process over the same cluster."""
        self.loop = VerdictLoop(
            assessor=Assessor(
                inventory=self.cluster,
                records=self.cluster,
                board=self.board,
                book=self.book,
                routes=None,
                defaults=self.defaults,
                protected_because=lambda _name: None,
                sleep_deadline=timedelta(minutes=10),
            ),
            board=self.board,
            book=self.book,
            flights=self.flights,
            herald=self.herald,
            names_of_all=lambda: list(self.cluster.objects),
            leading=lambda: self.leading,
            power_changed=lambda space, state, _at, _freed=None: self.powers.append(
                (space.name, state)
            ),
            line=TimeLine(self.clock, limit=timedelta(seconds=2)),
            clock=self.clock,
            recorder=NullRecorder(),
            pacing=Pacing(retry_backoff=timedelta(minutes=5)),
        )
        self.board.subscribe([self.loop.on_activity])
        self.loop.tell_all()

    def add(self, name: str, **annotations: str) -> None:
        """A Space with one running Deployment."""
        given = {f"{names.GROUP}/{key.replace('_', '-')}": v for key, v in annotations.items()}
        meta = Metadata(
            name=name,
            uid=f"uid-{name}",
            creation_timestamp=CREATED,
            labels={names.LABEL_TENANT: "t"},
            annotations=given,
        )
        self.cluster.objects[name] = SpaceObjects(namespace=Namespace(metadata=meta))
        self.scale(name, 2)
        self.loop.tell(name)

    def annotate(self, name: str, **annotations: str) -> None:
        """Other annotations on the namespace."""
        given = {f"{names.GROUP}/{key.replace('_', '-')}": v for key, v in annotations.items()}
        objects = self.cluster.objects[name]
        meta = replace_struct(objects.namespace.metadata, annotations=given)
        self.cluster.objects[name] = replace_struct(objects, namespace=Namespace(metadata=meta))
        self.loop.tell(name)

    def label(self, name: str, tenant: str) -> None:
        """Another tenant label on the namespace."""
        objects = self.cluster.objects[name]
        meta = replace_struct(objects.namespace.metadata, labels={names.LABEL_TENANT: tenant})
        self.cluster.objects[name] = replace_struct(objects, namespace=Namespace(metadata=meta))
        self.loop.tell(name)

    def scale(self, name: str, replicas: int) -> None:
        web = Deployment(
            metadata=Metadata(name="web", namespace=name, uid=f"uid-{name}-web"),
            spec=DeploymentSpec(replicas=replicas),
            status=ScalableStatus(replicas=replicas, updated_replicas=replicas),
        )
        namespace = self.cluster.objects[name].namespace
        self.cluster.objects[name] = SpaceObjects(namespace=namespace, deployments=(web,))

    def later(self, **by: float) -> None:
        """Time passes, and the loop is told of something so that it looks at the clock at once."""
        self.clock.at += timedelta(**by)
        self.loop.tell_all()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.get_running_loop().create_task(self.loop.run())  # cancelled below
        try:
            await self.settled()  # the clocks of new Spaces begin at the loop's first look
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def flown(self, *expected: tuple[str, str, Reason]) -> None:
        await eventually(
            lambda: self.flights.flown == list(expected), within=5, what=f"flown: {expected}"
        )

    async def settled(self) -> None:
        """Wait until the loop has taken two turns after everything that it was told of."""
        for _ in range(2):
            self.cluster.turns.clear()
            self.loop.tell(MARKER)
            async with asyncio.timeout(5):
                await self.cluster.turns.wait()
            await asyncio.sleep(0)


async def test_a_space_sleeps_when_idle_and_a_touch_wakes_it() -> None:
    world = World()
    world.add("a")
    async with world.running():
        world.later(hours=1, seconds=1)
        await world.flown(("sleep", "a", Reason.IDLE))
        world.later(minutes=1)
        world.api.touch("a")
        await world.flown(("sleep", "a", Reason.IDLE), ("wake", "a", Reason.TOUCHED))
    assert world.powers[0] == ("a", PowerState.AWAKE)
    assert ("a", PowerState.ASLEEP) in world.powers


async def test_only_the_leader_puts_to_sleep_but_any_replica_wakes() -> None:
    world = World(leading=False)
    world.add("a")
    async with world.running():
        world.later(hours=2)
        await world.settled()
        assert world.flights.flown == []
        world.leading = True
        world.later(seconds=1)
        await world.flown(("sleep", "a", Reason.IDLE))
        world.leading = False
        world.later(minutes=1)
        world.api.touch("a")
        await world.flown(("sleep", "a", Reason.IDLE), ("wake", "a", Reason.TOUCHED))


@pytest.mark.fault(21)
async def test_a_verdict_in_a_lapse_that_nobody_is_told_of_is_looked_at_again() -> None:
    world = World()
    world.add("a")
    async with world.running():
        world.leading = False
        world.later(hours=2)
        await world.settled()
        assert world.flights.flown == []
        world.leading = True  # and no word of it: the clock stands, and nothing changes
        await world.flown(("sleep", "a", Reason.IDLE))


@pytest.mark.fault(21)
async def test_a_sleep_that_the_lease_stopped_has_not_failed_and_goes_on_when_it_is_ours() -> None:
    world = World(notice=timedelta(minutes=10))
    world.add("a")
    async with world.running():
        world.flights.stopped = True
        world.later(minutes=55)
        await eventually(lambda: world.book.pages()["uid-a"].noticed_at, within=5)
        world.later(minutes=11)
        await world.flown(("sleep", "a", Reason.IDLE))
        await world.settled()
        page = world.book.pages()["uid-a"]
        assert (page.failures, page.retry_sleep_at) == (0, None)
        world.flights.stopped = False
        world.leading = True  # in the same second: no pause, no second notice
        await world.flown(("sleep", "a", Reason.IDLE), ("sleep", "a", Reason.IDLE))


@pytest.mark.fault(21)
@pytest.mark.parametrize("notice", [timedelta(), timedelta(minutes=10)])
async def test_what_an_owner_is_told_is_told_after_a_lapse(notice: timedelta) -> None:
    world = World(notice=notice)
    async with world.running():
        world.leading = False
        world.add("a")
        world.later(minutes=55)
        await world.settled()
        assert world.herald.told == []
        world.leading = True
        await eventually(lambda: world.herald.told, within=5)


async def test_a_space_that_is_gone_waits_for_no_lease() -> None:
    world = World(leading=False)
    world.add("a")
    async with world.running():
        world.later(hours=2)
        await world.settled()
        del world.cluster.objects["a"]
        world.loop.tell("a")
        await world.settled()
        assert world.loop._dispatcher._unled == set()


async def test_sleep_waits_until_the_notice_was_surely_given_and_has_run() -> None:
    world = World(notice=timedelta(minutes=10))
    world.herald.works = False
    world.add("a")
    async with world.running():
        world.later(hours=3)
        await eventually(lambda: "notice a" in world.herald.told, within=5)
        world.later(hours=1)
        await world.settled()
        assert world.flights.flown == [], "a notice that could not be written is no notice"
        world.herald.works = True
        world.later(seconds=1)
        await eventually(lambda: world.book.pages()["uid-a"].noticed_at, within=5)
        world.later(minutes=9)
        await world.settled()
        assert world.flights.flown == []
        world.later(minutes=1)
        await world.flown(("sleep", "a", Reason.IDLE))


async def test_a_notice_that_ended_while_another_replica_led_is_over() -> None:
    world = World(notice=timedelta(minutes=10))
    world.add("a")
    async with world.running():
        world.later(minutes=55)
        await eventually(lambda: world.book.pages()["uid-a"].noticed_at, within=5)
        world.leading = False
        world.api.touch("a")
        await world.settled()
        assert world.book.pages()["uid-a"].noticed_at is None


async def test_a_blind_signal_keeps_every_space_up_until_it_sees_again() -> None:
    world = World()
    world.add("a")
    world.api.unknown = "CanaryMissing"
    async with world.running():
        world.later(hours=5)
        await world.settled()
        assert world.flights.flown == []
        world.api.unknown = None
        await world.flown(("sleep", "a", Reason.IDLE))


async def test_a_failed_sleep_is_not_tried_again_at_once_and_ever_later() -> None:
    world = World()
    world.flights.fails = True
    world.add("a")
    async with world.running():
        world.later(hours=2)
        await eventually(lambda: len(world.flights.flown) == 1, within=5)
        world.later(minutes=4, seconds=59)
        await world.settled()
        assert len(world.flights.flown) == 1
        world.later(seconds=2)
        await eventually(lambda: len(world.flights.flown) == 2, within=5)
        world.later(minutes=9)
        await world.settled()
        assert len(world.flights.flown) == 2
        world.later(minutes=2)
        await eventually(lambda: len(world.flights.flown) == 3, within=5)


@pytest.mark.fault(9)
async def test_after_three_failures_alike_it_is_held_until_something_changes() -> None:
    world = World()
    world.flights.fails = True
    world.flights.blames = ("Deployment/web",)
    world.add("a")
    async with world.running():
        world.later(hours=2)
        tried = ("sleep", "a", Reason.IDLE)
        for count in range(1, 4):
            await world.flown(*[tried] * count)
            await world.settled()
            world.later(hours=3)
        await world.settled()
        assert len(world.flights.flown) == 3
        held = world.book.pages()["uid-a"].verdict
        assert held is not None
        assert held.reason is Reason.REPEATED_FAILURE

        world.scale("a", 3)
        world.later(hours=3)
        await eventually(lambda: len(world.flights.flown) == 4, within=5)


async def test_a_sleep_has_failed_also_if_a_wake_joined_its_undoing() -> None:
    world = World()
    world.flights.fails = world.flights.joins = True
    world.add("a")
    async with world.running():
        world.later(hours=2)
        await eventually(lambda: len(world.flights.flown) == 1, within=5)
        await world.settled()
        world.later(minutes=4, seconds=59)
        await world.settled()
        assert len(world.flights.flown) == 1


async def test_a_touch_turns_desired_asleep_back_before_it_could_sleep_again() -> None:
    world = World()
    world.add("a", desired="asleep")
    async with world.running():
        await world.flown(("sleep", "a", Reason.DESIRED_ASLEEP))
        world.later(minutes=1)
        world.api.touch("a")
        await eventually(lambda: "release a" in world.herald.told, within=5)
        await world.settled()
    assert world.flights.flown == [
        ("sleep", "a", Reason.DESIRED_ASLEEP),
        ("wake", "a", Reason.TOUCHED),
    ]


async def test_a_space_that_another_replica_woke_is_idle_from_then_on() -> None:
    world = World(leading=False)
    world.add("a")
    async with world.running():
        world.later(hours=2)
        await world.settled()
        space = SpaceRef(uid="uid-a", name="a", tenant="t")
        slept = Verdict(
            kind=VerdictKind.FALL_ASLEEP, reason=Reason.IDLE, message="", sleep_horizon=START
        )
        await world.flights.sleep(space, slept)
        world.later(hours=1)
        await world.settled()
        await world.flights.wake("uid-a", Reason.BREAK_GLASS)
        done_by_the_other = tuple(world.flights.flown)
        world.leading = True
        world.later(minutes=59)
        await world.settled()
        assert world.flights.flown == [*done_by_the_other]
        world.later(hours=1)
        await world.flown(*done_by_the_other, ("sleep", "a", Reason.IDLE))


async def test_a_space_that_lost_its_label_for_a_while_begins_anew() -> None:
    world = World()
    world.add("a")
    labelled = world.cluster.objects["a"]
    meta = replace_struct(labelled.namespace.metadata, labels={})
    async with world.running():
        world.later(minutes=50)
        unlabelled = replace_struct(labelled.namespace, metadata=meta)
        world.cluster.objects["a"] = replace_struct(labelled, namespace=unlabelled)
        world.later(minutes=5)
        await world.settled()
        world.cluster.objects["a"] = labelled
        world.later(minutes=10)
        await world.settled()
        world.later(minutes=50)
        await world.settled()
        assert world.flights.flown == [], "nobody followed its use while it was no Space"
        world.later(minutes=10)
        await world.flown(("sleep", "a", Reason.IDLE))


async def test_half_an_inventory_does_not_start_the_clock_of_the_rules_anew() -> None:
    world = World()
    world.add("a")
    whole = world.cluster.objects["a"]
    lb = Service(metadata=Metadata(name="lb", uid="lb"), spec=ServiceSpec(type="LoadBalancer"))
    world.cluster.objects["a"] = replace_struct(whole, services=(lb,))
    async with world.running():
        since = world.book.pages()["uid-a"].state.rules_since
        world.cluster.synced = False
        world.cluster.objects["a"] = whole
        world.later(minutes=1)
        await world.settled()
        world.cluster.synced = True
        world.cluster.objects["a"] = replace_struct(whole, services=(lb,))
        world.later(minutes=1)
        await world.settled()
        assert world.book.pages()["uid-a"].state.rules_since == since
        world.cluster.objects["a"] = whole
        world.later(minutes=1)
        await world.settled()
        assert world.book.pages()["uid-a"].state.rules_since == world.clock.at


async def test_observe_mode_starts_no_flight_and_tells_nobody() -> None:
    world = World()
    world.add("a", mode="observe")
    world.add("b")
    async with world.running():
        world.later(hours=2)
        await world.flown(("sleep", "b", Reason.IDLE))
        await world.settled()
    assert [told for told in world.herald.told if told.endswith(" a")] == []


async def test_a_late_write_is_undone_in_observe_mode_too() -> None:
    world = World()
    world.flights.late.add("a")
    world.add("a", mode="observe")
    async with world.running():
        await eventually(lambda: not world.flights.late, within=5)


async def test_a_late_write_is_undone_in_a_namespace_that_is_no_space_any_more() -> None:
    """It lost its label and its record; nobody else would ever bring its workloads back."""
    world = World()
    world.flights.late.add("a")
    world.add("a")
    seen = world.cluster.objects["a"]
    meta = replace_struct(seen.namespace.metadata, labels={})
    world.cluster.objects["a"] = replace_struct(seen, namespace=Namespace(metadata=meta))
    async with world.running():
        await eventually(lambda: not world.flights.late, within=5)
        assert world.herald.told == []
        assert world.powers == []


async def test_a_touch_takes_back_an_order_to_sleep_that_something_held() -> None:
    world = World()
    world.add("a", desired="asleep", keep_awake_until="2026-03-02T13:00:00Z")
    async with world.running():
        world.later(minutes=1)
        world.api.touch("a")
        await eventually(lambda: "release a" in world.herald.told, within=5)
        world.annotate("a")
        world.later(minutes=59)
        await world.settled()
        assert world.flights.flown == []


async def test_a_touch_before_an_order_to_sleep_does_not_take_it_back() -> None:
    world = World()
    world.api.touch("a")
    world.add("a", desired="asleep", keep_awake_until="2026-03-02T13:00:00Z")
    async with world.running():
        world.later(hours=2)
        await world.flown(("sleep", "a", Reason.DESIRED_ASLEEP))
    assert "release a" not in world.herald.told


async def test_what_was_restored_asleep_comes_back_when_somebody_asks_for_the_space() -> None:
    world = World()
    world.flights.copies.add("a")
    world.add("a")
    async with world.running():
        await world.settled()
        assert world.flights.copies, "nobody asked"
        world.annotate("a", desired="awake")
        await eventually(lambda: not world.flights.copies, within=5)


async def test_what_was_restored_asleep_comes_back_whatever_else_holds_the_space_awake() -> None:
    world = World()
    world.flights.copies.add("a")
    world.add("a", desired="awake", notice="soon")  # an annotation that cannot be read
    async with world.running():
        await eventually(lambda: not world.flights.copies, within=5)


async def test_what_was_restored_asleep_and_is_refused_is_tried_again_in_a_moment() -> None:
    world = World()
    world.flights.copies.add("a")
    world.flights.fails = True
    world.add("a", desired="awake")
    async with world.running():
        await eventually(lambda: len(world.flights.flown) == 1, within=5)
        await world.settled()
        assert len(world.flights.flown) == 1
        world.flights.fails = False
        world.later(seconds=6)
        await eventually(lambda: not world.flights.copies, within=5)


async def test_ownership_that_a_dead_process_left_goes_before_its_wake_is_carried_on() -> None:
    world = World()
    world.add("a")
    world.add("b", desired="asleep")
    async with world.running():
        await world.flown(("sleep", "b", Reason.DESIRED_ASLEEP))
    world.flights.flown.clear()
    world.flights.held.update({"a", "b"})
    world.later(minutes=1)
    world.api.touch("b")
    world.restart()
    async with world.running():
        await eventually(lambda: not world.flights.held, within=5)
        await eventually(lambda: not world.cluster.records, within=5)
    of_b = [act for act, space, _ in world.flights.flown if space == "b"]
    assert of_b == ["release", "wake"]


async def test_ownership_of_an_object_is_left_for_a_moment_to_who_is_between_two_writes() -> None:
    world = World()
    world.add("a")
    async with world.running():
        await world.settled()
        world.flights.held.add("a")
        world.loop.tell("a")
        await world.settled()
        assert world.flights.held
        world.later(seconds=3)
        await eventually(lambda: not world.flights.held, within=5)


@pytest.mark.parametrize(
    ("verb", "resource", "wary"),
    [
        ("update", "statefulsets", True),
        ("patch", "statefulsets", True),
        ("create", "secrets", True),  # as Helm does before it writes what differs, and no more
        ("get", "statefulsets", False),
        ("patch", "statefulsets/scale", False),
        ("update", "deployments", False),
    ],
)
@pytest.mark.parametrize("looks_on", [False, True])
@pytest.mark.fault(3)
async def test_a_wake_is_wary_of_claims_after_a_write_that_may_have_left_no_trace(
    verb: str, resource: str, wary: bool, *, looks_on: bool
) -> None:
    world = World()
    world.add("a", desired="asleep")
    async with world.running():
        await world.flown(("sleep", "a", Reason.DESIRED_ASLEEP))
        world.later(minutes=1)
        world.api.touch("a", verb=verb, resource=resource)
        if looks_on:
            world.later(seconds=1)
            world.api.touch("a")
        await eventually(lambda: not world.cluster.records, within=5)
    assert world.flights.wary == [wary]


async def test_a_wake_that_breaks_is_begun_again_in_a_moment() -> None:
    world = World()
    world.add("a", desired="asleep")
    async with world.running():
        await world.flown(("sleep", "a", Reason.DESIRED_ASLEEP))
        world.flights.breaks = True
        world.later(minutes=1)
        world.api.touch("a")
        await eventually(lambda: len(world.flights.flown) == 2, within=5)
        await world.settled()
        world.flights.breaks = False
        world.clock.at += timedelta(seconds=6)  # nobody tells the loop
        await eventually(lambda: len(world.flights.flown) == 3, within=5)
    assert world.cluster.records == {}


async def test_a_wake_that_fails_is_not_begun_again_by_its_own_writes() -> None:
    world = World()
    world.add("a", desired="asleep")
    async with world.running():
        await world.flown(("sleep", "a", Reason.DESIRED_ASLEEP))
        world.flights.refuses_to_wake = True
        world.later(minutes=1)
        world.api.touch("a")
        for _ in range(10):
            await world.settled()
        assert len(world.flights.flown) == 2
        world.clock.at += timedelta(seconds=6)
        await eventually(lambda: len(world.flights.flown) == 3, within=5)
        world.clock.at -= timedelta(hours=1)
        world.loop.tell_all()
        await eventually(lambda: len(world.flights.flown) == 4, within=5)


async def test_a_flight_that_the_watch_does_not_show_is_not_begun_again_at_once() -> None:
    """Another replica slept or woke the Space, and the watch of the records is late."""
    world = World()
    world.flights.unseen = True
    world.add("a")
    async with world.running():
        world.later(hours=2)
        for _ in range(10):
            await world.settled()
        assert len(world.flights.flown) == 1
        world.flights.unseen = False
        world.clock.at += timedelta(seconds=6)  # nobody tells the loop
        await eventually(lambda: len(world.flights.flown) == 2, within=5)
        world.flights.unseen = True
        world.later(minutes=1)
        world.api.touch("a")
        for _ in range(10):
            await world.settled()
        assert len(world.flights.flown) == 3
        world.flights.unseen = False
        world.clock.at += timedelta(seconds=6)
        await eventually(lambda: len(world.flights.flown) == 4, within=5)
    assert world.cluster.records == {}


async def test_a_late_write_that_cannot_be_undone_now_is_tried_again_in_a_moment() -> None:
    world = World()
    world.flights.stays_late = True
    world.flights.late.add("a")
    world.add("a")
    async with world.running():
        for _ in range(10):
            await world.settled()
        assert world.flights.undone == 1
        world.clock.at += timedelta(seconds=6)
        await eventually(lambda: world.flights.undone == 2, within=5)


async def test_a_space_that_was_woken_while_it_fell_asleep_is_idle_from_then_on() -> None:
    """By break-glass, which leaves no touch behind."""
    world = World()
    world.flights.gives_way = True
    world.add("a")
    async with world.running():
        world.later(hours=2)
        await eventually(lambda: len(world.flights.flown) == 1, within=5)
        world.flights.gives_way = False
        world.later(minutes=59)
        await world.settled()
        assert len(world.flights.flown) == 1
        world.later(minutes=2)
        await eventually(lambda: len(world.flights.flown) == 2, within=5)


async def test_a_space_that_cannot_be_assessed_does_not_end_the_others() -> None:
    world = World()
    world.add("a")
    world.add("b")
    sound = world.cluster.space

    def space(name: str) -> SpaceObjects | None:
        if name == "a":
            raise RuntimeError("a fault of ours")
        return sound(name)

    world.cluster.space = space  # type: ignore[method-assign]
    async with world.running():
        world.later(hours=2)
        await world.flown(("sleep", "b", Reason.IDLE))


async def test_only_so_many_spaces_begin_to_fall_asleep_at_a_time() -> None:
    world = World()
    world.flights.room = asyncio.Event()
    for number in range(25):
        world.add(f"s{number:02}")
    async with world.running():
        world.later(hours=2)
        await eventually(lambda: len(world.flights.flown) == 20, within=5)
        await world.settled()
        assert len(world.flights.flown) == 20
        waiting = {f"s{number:02}" for number in range(25)} - {s for _, s, _ in world.flights.flown}
        came_back = min(waiting)
        world.api.touch(came_back)
        world.flights.room.set()
        await eventually(lambda: len(world.flights.flown) == 24, within=5)
        await world.settled()
    assert came_back not in {space for _, space, _ in world.flights.flown}


async def test_a_loop_that_takes_no_turn_is_called_stuck() -> None:
    world = World()
    assert world.loop.stuck_because() is None
    world.loop.consider_due()
    world.clock.at += timedelta(seconds=61)
    assert world.loop.stuck_because() == "no turn for 61 s"


async def test_a_space_whose_every_sleep_somebody_undoes_is_left_alone_for_a_day() -> None:
    world = World()
    world.add("a")
    fought = [("sleep", "a", Reason.IDLE), ("wake", "a", Reason.NEW_WORKLOAD)]
    async with world.running():
        for sleeps in range(1, 4):
            world.later(hours=1, minutes=1)
            await world.flown(*fought * (sleeps - 1), fought[0])
            world.later(minutes=1)
            world.scale("a", 2)
            await world.flown(*fought * sleeps)
        world.later(hours=23)
        await world.settled()
        assert world.flights.flown == fought * 3
        verdict = world.book.pages()["uid-a"].verdict
        assert verdict is not None
        assert verdict.reason is Reason.CONFLICTING_WRITER
        world.later(hours=1, minutes=1)
        await world.flown(*fought * 3, fought[0])


@pytest.mark.fault(18)
@pytest.mark.parametrize("tenant", ["", "Team_A"])
async def test_a_tenant_label_that_names_nobody_makes_no_space_and_is_told(tenant: str) -> None:
    world = World()
    world.add("a")
    world.add("b", desired="asleep")
    world.label("b", tenant)
    async with world.running():
        world.later(hours=2)
        await world.flown(("sleep", "a", Reason.IDLE))
        await world.settled()
    assert "label b" in world.herald.told
    assert "publish b" not in world.herald.told
    assert {name for name, _ in world.powers} == {"a"}, "nobody pays for it"
    assert set(world.loop.states()) == {"a"}


@pytest.mark.fault(18)
async def test_what_sleeps_is_brought_back_when_its_tenant_label_names_nobody_any_more() -> None:
    world = World()
    world.add("a")
    async with world.running():
        world.later(hours=2)
        await world.flown(("sleep", "a", Reason.IDLE))
        await world.settled()
        asleep = len(world.powers)
        world.label("a", "")
        await world.flown(("sleep", "a", Reason.IDLE), ("wake", "a", Reason.NOT_A_SPACE))
        await world.settled()
        assert world.herald.told[-1] == "label a"
        assert len(world.powers) == asleep, "nobody pays for it"
        world.later(hours=2)
        await world.settled()
        assert len(world.flights.flown) == 2
        world.label("a", "t")
        await world.settled()
        assert world.powers[asleep:] == [("a", PowerState.AWAKE)]


@pytest.mark.fault(11)
async def test_a_visit_that_no_decision_could_know_of_turns_the_sleep_back() -> None:
    world = World()
    world.api.behind = timedelta(seconds=20)
    world.add("a")
    sleep, wake = ("sleep", "a", Reason.IDLE), ("wake", "a", Reason.VISITED)
    async with world.running():
        world.later(hours=1, seconds=30)
        await world.flown(sleep)
        visited = world.clock.now() - timedelta(seconds=5)
        world.later(seconds=10)
        world.web.visit("a", visited)
        await world.flown(sleep, wake)


@pytest.mark.fault(11)
async def test_what_a_sleep_itself_ends_turns_it_back_once_and_not_for_ever() -> None:
    """An event stream ends with its Pod and is counted then, in the scrape after the sleep."""
    world = World()
    world.add("a")
    sleep, wake = ("sleep", "a", Reason.IDLE), ("wake", "a", Reason.VISITED)
    async with world.running():
        for flown in ([sleep, wake], [sleep, wake, sleep], [sleep, wake, sleep]):
            world.later(hours=1, seconds=1)
            await world.settled()
            world.later(seconds=15)
            if len(world.cluster.records):
                world.web.visit("a", world.clock.now())
            await world.flown(*flown)
        world.api.touch("a")
        await world.flown(sleep, wake, sleep, ("wake", "a", Reason.TOUCHED))
        world.later(minutes=1)
        world.web.visit("a", world.clock.now())  # somebody has used it since
        world.later(hours=1, seconds=1)
        await world.settled()
        world.later(seconds=15)
        world.web.visit("a", world.clock.now())
        touched = ("wake", "a", Reason.TOUCHED)
        await world.flown(sleep, wake, sleep, touched, sleep, wake)


class HeavyCluster(Cluster):
    """A look at the Space ``heavy`` takes a tenth of a second."""

    clock: SetClock
    looks = 0

    def space(self, name: str) -> SpaceObjects | None:
        if name == "heavy":
            self.looks += 1
            self.clock.at += timedelta(seconds=0.1)
        return super().space(name)


@pytest.mark.fault(15)
async def test_a_space_that_takes_long_to_look_at_takes_a_small_part_of_the_loop() -> None:
    world = World()
    heavy = HeavyCluster()
    heavy.clock = world.clock
    heavy.objects, heavy.records = world.cluster.objects, world.cluster.records
    world.loop._assessor._inventory = heavy
    world.add("heavy")
    world.add("light")
    began = world.clock.at
    for _ in range(400):
        world.loop.tell("heavy")  # as each of its thousand Pods does
        world.loop.tell("light")
        world.loop.consider_due()
        world.clock.at += timedelta(seconds=0.05)
    share = heavy.looks * 0.1 / (world.clock.at - began).total_seconds()
    assert 0.02 < share < 0.15
    assert world.loop.states() == {"heavy": PowerState.AWAKE, "light": PowerState.AWAKE}


async def test_one_look_that_took_long_may_have_been_the_machine() -> None:
    world = World()
    world.add("a")
    world.loop.consider_due()
    looks = 0
    space = world.cluster.space

    def slow_once(name: str) -> SpaceObjects | None:
        nonlocal looks
        looks += name == "a"
        if looks == 1:
            world.clock.at += timedelta(seconds=3)
        return space(name)

    world.loop._assessor._inventory.space = slow_once  # type: ignore[method-assign]
    for expected in (1, 2, 3):
        world.loop.tell("a")
        world.loop.consider_due()
        assert looks == expected
