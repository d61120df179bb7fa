"""Streams that were opened before the first start, in a gap, or before the label: their Spaces stay
awake, and so do all that could have them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from metrics.core.signals import UnheardStreams
from sleeper.control.canary import parse_open_streams
from sleeper.store.engine import Database
from tests.control.test_api_signal import HORIZON, HandClock, Stage
from tests.support.audit_events import body, event

pytestmark = pytest.mark.fault(10)

BOUND = timedelta(hours=4)
EXEC, LOG = ("pods", "exec"), ("pods", "log")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with await Database.open(f"sqlite+aiosqlite:///{tmp_path}/sleeper.db") as opened:
        yield opened


@pytest_asyncio.fixture
async def stage(database: Database, clock: HandClock) -> Stage:
    """A replica that sees an API server that serves no stream."""
    made = Stage(database, clock)
    made.server.open = {}
    await made.signal.start()
    await made.probe(times=12)
    assert unheard(made) == ()
    return made


def unheard(stage: Stage) -> tuple[UnheardStreams, ...]:
    return stage.signal.view(stage.clock.now()).unheard


def edge(stage: Stage, number: int, *, opens: bool, **more: Any) -> bytes:
    """One end of an exec."""
    ends = {True: "ResponseStarted", False: "ResponseComplete"}
    found = event(
        at=stage.clock.now(),
        subresource="exec",
        stage=ends[opens],
        code=101,
        audit_id=f"id-{number}",
        **more,
    )
    return body([found])


async def lose_events(stage: Stage) -> None:
    stage.server.lost += 1
    await stage.probe()


async def test_a_stream_that_was_open_before_the_first_start_may_be_anywhere(
    database: Database, clock: HandClock
) -> None:
    stage = Stage(database, clock)
    stage.server.open = {EXEC: 1}
    await stage.signal.start()
    began = clock.now()
    await stage.probe(times=12)
    (held,) = unheard(stage)
    assert (held.apiserver, held.count, held.kinds) == ("main", 1, ("pods/exec",))
    assert began <= held.opened_before <= began + timedelta(seconds=30)
    assert held.holds_until == held.opened_before + BOUND
    stage.server.open = {EXEC: 0}
    await stage.probe(times=9)
    assert unheard(stage) == ()


async def test_until_it_is_compared_nothing_is_seen_beyond_the_gap(
    database: Database, clock: HandClock
) -> None:
    stage = Stage(database, clock)
    stage.server.open = {EXEC: 1}
    await stage.signal.start()
    for _ in range(20):
        await stage.probe()
        if unheard(stage):
            break
        assert stage.gap_end is not None
        assert stage.watermark is None or stage.watermark <= stage.gap_end
    else:
        raise AssertionError("never compared")


async def test_a_stream_that_was_opened_in_a_gap_holds_until_it_ends(stage: Stage) -> None:
    stage.server.open = {EXEC: 1}
    await lose_events(stage)
    await stage.probe(times=12)
    (held,) = unheard(stage)
    assert held.count == 1
    stage.server.open = {EXEC: 0}
    await stage.probe(times=9)
    assert unheard(stage) == ()


@pytest.mark.parametrize(
    "whose",
    [
        {},
        {"namespace": "no-space-yet"},
        {"user": "system:serviceaccount:ci:runner"},
        {"namespace": "tools", "user": "system:serviceaccount:ci:runner"},
    ],
)
async def test_a_stream_that_was_heard_is_known_whosever_it_is(
    stage: Stage, whose: dict[str, str]
) -> None:
    stage.receive(edge(stage, 1, opens=True, **whose))
    stage.server.open = {EXEC: 1}
    await stage.probe(times=9)
    await lose_events(stage)
    await stage.probe(times=12)
    assert unheard(stage) == ()


async def test_a_stream_that_was_opened_before_its_namespace_became_a_space_holds_it(
    stage: Stage, database: Database, clock: HandClock
) -> None:
    stage.receive(edge(stage, 1, opens=True, namespace="no-space-yet"))
    await stage.probe()
    (held,) = stage.signal.streams("no-space-yet", clock.now())
    assert held.resource == "pods/exec"
    await stage.signal.close()
    later = Stage(database, clock, identity="later")
    await later.signal.start()
    assert later.signal.streams("no-space-yet", clock.now()) == (held,)
    later.receive(edge(stage, 1, opens=False, namespace="no-space-yet"))
    assert later.signal.streams("no-space-yet", clock.now()) == ()


async def test_short_requests_of_namespaces_that_are_no_spaces_are_not_stored(
    stage: Stage, database: Database
) -> None:
    stage.receive(edge(stage, 1, opens=True, namespace="monitoring"))
    stage.receive(edge(stage, 1, opens=False, namespace="monitoring"))
    stage.receive(edge(stage, 2, opens=True, namespace="monitoring"))
    await stage.signal.flush()
    later = Stage(database, stage.clock, identity="later")
    await later.signal.start()
    assert [s.audit_id for s in later.signal.streams("monitoring", stage.clock.now())] == ["id-2"]


async def test_streams_that_come_and_go_while_we_hear_hold_nobody_but_their_space(
    stage: Stage, clock: HandClock
) -> None:
    """Also where one of them falls between a reading and its events."""
    for number in range(30):
        stage.receive(edge(stage, number, opens=True))
        stage.server.open = {EXEC: 1}
        await stage.probe()
        stage.receive(edge(stage, number, opens=False))
        assert unheard(stage) == ()


async def test_streams_that_come_and_go_excuse_none_that_is_opened_in_a_gap(
    stage: Stage, clock: HandClock
) -> None:
    await stage.probe(times=9)
    for number in range(12):
        stage.receive(edge(stage, number, opens=True))
        stage.server.open = {EXEC: 1}
        await stage.probe()
        clock.tick(-9)
        stage.receive(edge(stage, number, opens=False))
        clock.tick(9)
    await lose_events(stage)
    await stage.probe(times=12)
    assert [held.count for held in unheard(stage)] == [1]


async def test_what_the_audit_policy_keeps_from_us_holds_nobody_while_we_hear(
    stage: Stage,
) -> None:
    stage.server.open = {LOG: 3}
    await stage.probe(times=12)
    assert unheard(stage) == ()
    await lose_events(stage)
    await stage.probe(times=12)
    assert unheard(stage) == (), "as many as before"


async def test_the_streams_of_an_api_server_end_with_its_process(stage: Stage) -> None:
    stage.server.open = {EXEC: 1}
    await lose_events(stage)
    await stage.probe(times=12)
    assert unheard(stage) != ()
    stage.receive(edge(stage, 1, opens=True))  # its end will not be told either
    stage.server.open, stage.server.started = {}, stage.clock.now().timestamp()
    await stage.probe(times=12)
    assert unheard(stage) == ()
    stage.server.open = {EXEC: 1}
    await lose_events(stage)
    await stage.probe(times=12)
    assert [held.count for held in unheard(stage)] == [1], "the old one is not taken for it"


async def test_what_an_api_server_counted_before_its_restart_excuses_nothing_after_it(
    stage: Stage,
) -> None:
    stage.server.open = {EXEC: 1}
    await stage.probe(times=12)
    assert unheard(stage) == ()
    stage.server.started = stage.clock.now().timestamp()
    await stage.probe(times=12)
    assert [held.count for held in unheard(stage)] == [1]


async def test_a_restart_of_ours_forgets_none(
    stage: Stage, database: Database, clock: HandClock
) -> None:
    stage.server.open = {EXEC: 1}
    await lose_events(stage)
    await stage.probe(times=12)
    held = unheard(stage)
    await stage.signal.close()
    later = Stage(database, clock, identity="later")
    later.server.open, later.server.lost = {EXEC: 1}, stage.server.lost
    await later.signal.start()
    assert unheard(later) == held
    await later.probe(times=12)
    assert unheard(later) == held


async def test_a_stream_that_never_ends_holds_to_the_bound(stage: Stage, clock: HandClock) -> None:
    stage.server.open = {EXEC: 1}
    await lose_events(stage)
    await stage.probe(times=12)
    (held,) = unheard(stage)
    clock.wall = held.holds_until - HORIZON / 60
    assert unheard(stage) == (replace(held),)
    clock.tick(1)
    assert unheard(stage) == ()


async def test_an_api_server_that_does_not_count_its_streams_is_trusted_as_far_as_it_can_be(
    database: Database, clock: HandClock
) -> None:
    stage = Stage(database, clock)
    stage.server.open = None
    await stage.signal.start()
    await stage.probe(times=12)
    assert unheard(stage) == ()
    assert stage.gap_end is not None
    assert stage.watermark is not None
    assert stage.watermark > stage.gap_end


async def test_what_another_replica_heard_is_known_before_anything_is_compared(
    tmp_path: Path,
) -> None:
    """The event came late, to the other one, just before this one compares."""
    rounds = 0
    for attempt in (1, 2):  # in the first nobody is told, to see when it compares
        clock = HandClock()
        async with await Database.open(f"sqlite+aiosqlite:///{tmp_path}/{attempt}.db") as database:
            ours, other = Stage(database, clock), Stage(database, clock, identity="other")
            ours.server.open = {EXEC: 1}
            await ours.signal.start()
            await other.signal.start()
            opened = edge(ours, 1, opens=True)
            for number in range(1, 30):
                await other.signal.flush()
                if attempt == 2 and number == rounds:
                    other.receive(opened)
                    await other.signal.flush()
                await ours.probe()
                if attempt == 1 and unheard(ours):
                    rounds = number
                if number == rounds:
                    break
            assert bool(unheard(ours)) is (attempt == 1)
    assert rounds > 1


async def test_a_count_that_is_missing_once_lets_nothing_go(stage: Stage) -> None:
    stage.server.open = {EXEC: 1}
    await lose_events(stage)
    stage.server.open = None
    await stage.probe()
    stage.server.open = {EXEC: 1}
    await stage.probe(times=12)
    assert [held.count for held in unheard(stage)] == [1]


def sample(verb: str, resource: str, subresource: str, count: int, group: str = "") -> str:
    """As Kubernetes 1.36 writes it."""
    labels = {
        "component": "apiserver",
        "group": group,
        "resource": resource,
        "scope": "resource",
        "subresource": subresource,
        "verb": verb,
        "version": "v1",
    }
    told = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"apiserver_longrunning_requests{{{told}}} {count}\n"


WATCHES = sample("WATCH", "pods", "", 5)
METRICS = "".join(
    (
        "# HELP apiserver_longrunning_requests [STABLE] Gauge of all active long-running requests\n"
        "# TYPE apiserver_longrunning_requests gauge\n",
        sample("CONNECT", "pods", "log", 1),
        sample("CONNECT", "pods", "exec", 0),
        sample("POST", "pods", "exec", 2),
        sample("CONNECT", "services", "proxy", 3),
        sample("CONNECT", "nodes", "proxy", 4),
        sample("CONNECT", "pods", "exec", 6, group="x.io"),
        WATCHES,
    )
)


def test_the_count_is_read_by_resource_and_sub_resource() -> None:
    assert parse_open_streams(METRICS.encode()) == {
        "pods/log": 1,
        "pods/exec": 2,
        "services/proxy": 3,
    }


def test_an_api_server_that_serves_watches_alone_serves_no_stream() -> None:
    assert parse_open_streams(WATCHES.encode()) == {}


@pytest.mark.parametrize("text", [b"", b"other 1\n", b"apiserver_longrunning_requests{} NaN\n"])
def test_where_it_is_not_shown_nothing_is_known(text: bytes) -> None:
    assert parse_open_streams(text) is None
