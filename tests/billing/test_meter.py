"""The meter on a real database: taking over, losing sight, standing back."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from billing import store
from billing.core.periods import Grain, Period
from billing.core.power import ASLEEP
from billing.core.statement import Amounts, Statement, StatementQuery
from metrics.core.refs import SpaceRef
from metrics.recorder import NullRecorder
from sleeper.config import Config
from sleeper.control.jobs import retention_job
from sleeper.control.metering import Meter, MeterSettings
from sleeper.core.power import PowerState
from sleeper.core.record import FreedRequests
from sleeper.daemon import retention
from sleeper.errors import StoreError
from sleeper.store.engine import Database
from tests.billing.watching import HandClock, WatchedInventory, namespace_body, pod_body
from tests.support.eventually import eventually

T0 = int(datetime(2026, 11, 19, 12, 0, tzinfo=UTC).timestamp())
MIB = 2**20
SHOP = SpaceRef(uid="uid-shop", name="shop", tenant="red")
FREED = FreedRequests(cpu_millis=700, memory_bytes=MIB, pods=2)


class Gaps(NullRecorder):
    def __init__(self) -> None:
        self.seconds: list[float] = []

    def meter_gap(self, seconds: float) -> None:
        self.seconds.append(seconds)


class Site:
    """A cluster with one Space, seen by meters on one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = HandClock(T0)
        self.inventory = WatchedInventory(self.clock)
        self.inventory.namespace(namespace_body("shop", "red"))
        self.gaps = Gaps()
        self.leading = True

    def meter(self) -> Meter:
        return Meter(
            inventory=self.inventory,
            database=self.database,
            leading=lambda: self.leading,
            clock=self.clock,
            recorder=self.gaps,
        )

    async def pass_to(self, second: int, meter: Meter, *, alive: bool = True) -> None:
        """Let time pass to T0 + second, with the Pod watch alive or silent."""
        self.clock.move_to(T0 + second)
        if alive:
            self.inventory.alive()
        await meter.tick()

    async def statement(self, meter: Meter, until: int = 1000) -> Statement:
        query = StatementQuery(since=T0, until=T0 + until, grain=Grain.DAY)
        return await meter.statement(query)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with await Database.open(f"sqlite+aiosqlite:///{tmp_path}/sleeper.db") as database:
        yield Site(database)


async def test_a_pod_counts_from_its_node_to_its_end(site: Site) -> None:
    meter = site.meter()
    await meter.tick()
    site.clock.move_to(T0 + 100)
    site.inventory.pod(pod_body("shop", "web"))
    site.clock.move_to(T0 + 103)
    site.inventory.pod(pod_body("shop", "web", scheduled=T0 + 102))
    site.clock.move_to(T0 + 202)
    site.inventory.pod(pod_body("shop", "web", scheduled=T0 + 102), deleted=True)
    statement = await site.statement(meter)
    assert statement.total == Amounts(
        cpu_milli_seconds=100 * 100, memory_byte_seconds=64 * MIB * 100
    )
    assert statement.covered_seconds == 202


async def test_an_open_pod_counts_up_to_the_last_proof_of_life_and_no_further(site: Site) -> None:
    meter = site.meter()
    await meter.tick()
    site.inventory.pod(pod_body("shop", "web", scheduled=T0))
    await site.pass_to(60, meter)
    await site.pass_to(500, meter, alive=False)
    statement = await site.statement(meter)
    assert statement.total.cpu_milli_seconds == 100 * 60
    assert statement.seen_until == T0 + 60


async def test_nothing_is_claimed_from_before_the_first_meter(site: Site) -> None:
    site.inventory.pod(pod_body("shop", "web", scheduled=T0 - 86_400))
    meter = site.meter()
    await meter.tick()
    await site.pass_to(10, meter)
    statement = await meter.statement(StatementQuery(since=T0 - 90_000, until=T0 + 100))
    assert statement.total.cpu_milli_seconds == 100 * 10


async def test_after_a_crash_the_same_pods_go_on_the_gone_ended_and_the_gap_is_marked(
    site: Site,
) -> None:
    meter = site.meter()
    await meter.tick()
    for name in ("stays", "goes", "finishes"):
        site.inventory.pod(pod_body("shop", name, scheduled=T0))
    await site.pass_to(50, meter)

    unwatched = WatchedInventory(site.clock)  # the new process lists what is there by then
    site.inventory = unwatched
    unwatched.namespace(namespace_body("shop", "red"))
    unwatched.pod(pod_body("shop", "stays", scheduled=T0))
    unwatched.pod(pod_body("shop", "finishes", scheduled=T0, phase="Succeeded", finished=T0 + 80))
    unwatched.pod(pod_body("shop", "born", scheduled=T0 + 90))
    successor = site.meter()
    await site.pass_to(150, successor)
    await site.pass_to(250, successor)

    statement = await site.statement(successor)
    seconds = {"stays": 250, "goes": 50, "finishes": 80, "born": 250 - 90}
    assert statement.total.cpu_milli_seconds == 100 * sum(seconds.values())
    assert statement.covered_seconds == 150
    assert statement.gaps == (Period(start=T0 + 50, end=T0 + 150),)
    assert site.gaps.seconds == [100]


async def test_a_space_labelled_while_nobody_looked_counts_from_when_it_was_seen(
    site: Site,
) -> None:
    site.inventory.namespace(namespace_body("late", None))
    site.inventory.pod(pod_body("late", "web", scheduled=T0))
    meter = site.meter()
    await meter.tick()
    await site.pass_to(50, meter)
    site.leading = False
    await site.pass_to(60, meter)
    site.inventory.namespace(namespace_body("late", "blue"))
    site.leading = True
    await site.pass_to(100, meter)
    await site.pass_to(130, meter)
    assert (await site.statement(meter)).total.cpu_milli_seconds == 100 * 30


async def test_a_watch_that_lost_its_place_leaves_a_gap(site: Site) -> None:
    meter = site.meter()
    await meter.tick()
    stays = pod_body("shop", "stays", scheduled=T0)
    site.inventory.pod(pod_body("shop", "web", scheduled=T0))
    site.inventory.pod(stays)
    await site.pass_to(40, meter)
    await site.pass_to(70, meter, alive=False)
    site.clock.move_to(T0 + 90)
    site.inventory.relist([stays])
    await site.pass_to(100, meter)
    statement = await site.statement(meter)
    assert statement.total.cpu_milli_seconds == 100 * (40 + 100)
    assert statement.gaps == (Period(start=T0 + 40, end=T0 + 90),)
    assert site.gaps.seconds == [50]


async def test_a_new_list_without_a_difference_is_a_gap_all_the_same(site: Site) -> None:
    """A Pod may have come and gone in it."""
    meter = site.meter()
    await meter.tick()
    await site.pass_to(40, meter)
    site.clock.move_to(T0 + 45)
    site.inventory.relist([])
    await site.pass_to(60, meter)
    await site.pass_to(70, meter)
    assert (await site.statement(meter)).gaps == (Period(start=T0 + 40, end=T0 + 45),)


async def test_a_step_of_the_wall_clock_is_a_gap(site: Site) -> None:
    meter = site.meter()
    await meter.tick()
    await site.pass_to(10, meter)
    site.clock.step(300)
    await site.pass_to(320, meter)
    assert (await site.statement(meter)).gaps == (Period(start=T0 + 10, end=T0 + 320),)
    site.clock.step(-200)
    await site.pass_to(125, meter)
    await site.pass_to(400, meter)
    statement = await site.statement(meter)
    assert statement.covered_seconds == 10 + 80


@pytest.mark.parametrize("gone", [None, "", "Team_A"])
async def test_a_label_that_changes_splits_and_one_that_goes_or_names_nobody_ends(
    site: Site, gone: str | None
) -> None:
    meter = site.meter()
    await meter.tick()
    site.inventory.pod(pod_body("shop", "web", scheduled=T0))
    meter.power_changed(SHOP, PowerState.AWAKE, site.clock.now())
    for second, tenant in ((10, "blue"), (30, gone), (60, "green")):
        site.clock.move_to(T0 + second)
        site.inventory.namespace(namespace_body("shop", tenant))
    await site.pass_to(100, meter)
    statement = await site.statement(meter)
    assert {
        line.tenant: (line.amounts.cpu_milli_seconds, line.amounts.awake_seconds)
        for line in statement.lines
    } == {"red": (1000, 10), "blue": (2000, 20), "green": (4000, 0)}


async def test_a_new_space_counts_from_its_first_pod_even_if_the_pod_was_heard_of_first(
    site: Site,
) -> None:
    meter = site.meter()
    await meter.tick()
    site.clock.move_to(T0 + 12)
    site.inventory.pod(pod_body("new", "web", scheduled=T0 + 11))
    site.clock.move_to(T0 + 13)
    site.inventory.namespace(namespace_body("new", "blue"))
    await site.pass_to(21, meter)
    assert (await site.statement(meter)).total.cpu_milli_seconds == 100 * 10


async def test_a_namespace_made_anew_under_its_old_name_is_another_space(site: Site) -> None:
    meter = site.meter()
    await meter.tick()
    web = pod_body("shop", "web", scheduled=T0)
    site.inventory.pod(web)
    site.clock.move_to(T0 + 10)
    site.inventory.pod(web, deleted=True)
    site.inventory.namespace(namespace_body("shop", "red"), deleted=True)
    site.clock.move_to(T0 + 20)
    site.inventory.namespace(namespace_body("shop", "red", uid="uid-again"))
    again = pod_body("shop", "web", scheduled=T0 + 20)
    again["metadata"]["uid"] = "uid-other"
    site.inventory.pod(again)
    await site.pass_to(50, meter)
    statement = await site.statement(meter)
    assert {line.space_uid: line.amounts.cpu_milli_seconds for line in statement.lines} == {
        "uid-shop": 1000,
        "uid-again": 3000,
    }


async def test_a_pod_whose_requests_cannot_be_read_does_not_stop_the_others(site: Site) -> None:
    meter = site.meter()
    await meter.tick()
    site.inventory.pod(pod_body("shop", "odd", scheduled=T0, cpu="lots"))
    site.inventory.pod(pod_body("shop", "web", scheduled=T0))
    await site.pass_to(10, meter)
    assert (await site.statement(meter)).total.cpu_milli_seconds == 100 * 10


async def test_slept_time_frees_what_the_decision_found(site: Site) -> None:
    meter = site.meter()
    await meter.tick()
    meter.power_changed(SHOP, PowerState.AWAKE, datetime.fromtimestamp(T0, UTC))
    for second, state in ((10, PowerState.FALLING_ASLEEP), (14, PowerState.ASLEEP)):
        meter.power_changed(SHOP, state, datetime.fromtimestamp(T0 + second, UTC), FREED)
    await site.pass_to(50, meter)
    meter.power_changed(SHOP, PowerState.WAKING, datetime.fromtimestamp(T0 + 54, UTC), FREED)
    await site.pass_to(60, meter)
    assert (await site.statement(meter)).total == Amounts(
        freed_cpu_milli_seconds=700 * 40,
        freed_memory_byte_seconds=MIB * 40,
        awake_seconds=14 + 6,
        asleep_seconds=40,
    )


async def test_a_sleep_on_record_goes_on_over_a_restart_and_a_forgotten_one_does_not(
    site: Site,
) -> None:
    meter = site.meter()
    await meter.tick()
    asleep_at = datetime.fromtimestamp(T0 + 5, UTC)
    docs = SpaceRef(uid="uid-docs", name="docs", tenant="red")
    site.inventory.namespace(namespace_body("docs", "red"))
    meter.power_changed(SHOP, PowerState.ASLEEP, asleep_at, FREED)
    meter.power_changed(docs, PowerState.ASLEEP, asleep_at, FREED)
    await site.pass_to(50, meter)

    successor = site.meter()
    await site.pass_to(100, successor)
    successor.power_changed(SHOP, PowerState.ASLEEP, asleep_at, FREED)
    successor.power_changed(docs, PowerState.AWAKE, site.clock.now())
    await site.pass_to(110, successor)
    statement = await site.statement(successor)
    assert {
        line.space_name: (line.amounts.asleep_seconds, line.amounts.awake_seconds)
        for line in statement.lines
    } == {"shop": (105, 0), "docs": (45, 10)}


async def test_a_standby_that_takes_over_knows_every_power_state_at_once(site: Site) -> None:
    site.leading = False
    meter = site.meter()
    meter.power_changed(SHOP, PowerState.ASLEEP, site.clock.now(), FREED)
    await site.pass_to(10, meter)
    site.inventory.namespace(namespace_body("shop", "blue"))  # who pays now
    site.leading = True
    await site.pass_to(20, meter)
    await site.pass_to(50, meter)
    (line,) = (await site.statement(meter)).lines
    assert (line.tenant, line.amounts.asleep_seconds) == ("blue", 30)


async def test_a_meter_that_was_overtaken_writes_nothing_more(site: Site) -> None:
    paused = site.meter()
    await paused.tick()
    await site.pass_to(10, paused)
    successor = site.meter()
    await site.pass_to(20, successor)
    site.inventory.pod(pod_body("shop", "web", scheduled=T0 + 20))
    await paused.tick()
    async with site.database.read() as connection:
        assert await store.select_reservations(connection, 0, 2**40) == ()
        assert len(await store.select_spans(connection)) == 2


async def test_what_could_not_be_stored_is_stored_with_the_next_success(tmp_path: Path) -> None:
    path = tmp_path / "sleeper.db"
    url = f"sqlite+aiosqlite:///{path}"
    async with await Database.open(url, lock_timeout_seconds=0.01) as database:
        site = Site(database)
        meter = site.meter()
        await meter.tick()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        site.inventory.pod(pod_body("shop", "web", scheduled=T0))
        await site.pass_to(10, meter)
        with pytest.raises(StoreError, match="locked"):
            await site.statement(meter)
        other.close()
        await site.pass_to(20, meter)
        statement = await site.statement(meter)
    assert statement.total.cpu_milli_seconds == 100 * 20
    assert statement.gaps == ()


async def test_it_waits_for_the_inventory(site: Site) -> None:
    site.inventory.synced = False
    meter = site.meter()
    await meter.tick()
    assert (await site.statement(meter)).seen_until is None
    site.inventory.synced = True
    await site.pass_to(5, meter)
    assert (await site.statement(meter)).seen_until == T0 + 5


async def test_what_is_left_is_stored_when_it_ends(site: Site) -> None:
    meter = Meter(
        inventory=site.inventory,
        database=site.database,
        leading=lambda: True,
        clock=site.clock,
        recorder=site.gaps,
        settings=MeterSettings(flush_interval_seconds=3600),
    )
    site.inventory.synced = False
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(meter.run())
        await asyncio.sleep(0)  # its first look finds nothing to take over
        site.inventory.synced = True
        await meter.tick()
        site.inventory.pod(pod_body("shop", "web", scheduled=T0))
        running.cancel()
    async with site.database.read() as connection:
        assert len(await store.select_reservations(connection, 0, 2**40)) == 1


@pytest.mark.parametrize(("answers", "seen_until"), [(True, T0 + 50), (False, T0 + 10)])
async def test_a_clean_end_looks_once_more_so_that_its_gap_begins_no_earlier(
    site: Site, *, answers: bool, seen_until: int
) -> None:
    meter = Meter(
        inventory=site.inventory,
        database=site.database,
        leading=lambda: True,
        clock=site.clock,
        recorder=site.gaps,
        settings=MeterSettings(flush_interval_seconds=3600, last_look_seconds=0.01),
    )
    site.inventory.answers = answers
    await site.pass_to(10, meter)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(meter.run())
        await asyncio.sleep(0)
        site.clock.move_to(T0 + 50)  # and the Pod watch is silent, because no Pod changes
        running.cancel()
    async with site.database.read() as connection:
        (span,) = await store.select_spans(connection)
    assert span.end == seen_until


async def test_the_meter_takes_over_as_soon_as_it_leads(site: Site) -> None:
    site.leading = False
    meter = Meter(
        inventory=site.inventory,
        database=site.database,
        leading=lambda: site.leading,
        clock=site.clock,
        recorder=site.gaps,
        settings=MeterSettings(flush_interval_seconds=3600),
    )

    async def took_over() -> bool:
        async with site.database.read() as connection:
            return bool(await store.select_spans(connection))

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(meter.run())
        await asyncio.sleep(0)
        assert not await took_over()
        site.leading = True
        await eventually(took_over, within=5, what="the meter took over")
        running.cancel()


async def test_retention_forgets_what_ended_long_ago_and_its_coverage(site: Site) -> None:
    meter = site.meter()
    await meter.tick()
    site.inventory.pod(pod_body("shop", "old", scheduled=T0))
    site.inventory.pod(pod_body("shop", "long", scheduled=T0))
    await site.pass_to(10, meter)
    site.inventory.pod(pod_body("shop", "old", scheduled=T0), deleted=True)
    day = 86_400
    await site.pass_to(401 * day, meter)
    forgotten = await retention_job(
        site.database, site.clock, namespaces=lambda: None, keep=retention(Config())
    ).run()
    assert forgotten == 1
    statement = await meter.statement(StatementQuery(since=T0, until=T0 + 2 * day))
    assert statement.covered_seconds == day
    assert statement.total.cpu_milli_seconds == 100 * 2 * day
    await site.pass_to(401 * day + 1, meter)
    assert (await site.statement(meter)).seen_until == T0 + 401 * day + 1


def test_billing_and_control_mean_the_same_by_asleep() -> None:
    assert PowerState.ASLEEP.value == ASLEEP
