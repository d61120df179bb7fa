"""At most one leads, whatever is lost, stopped or late."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from metrics.recorder import NullRecorder
from sleeper.errors import ConfigError
from sleeper.kube.client import KubeClient
from sleeper.kube.lease import Elector, LeaseTiming
from tests.kube.scripted import ScriptedServer, hang
from tests.support.eventually import eventually

TIMING = LeaseTiming(
    duration_seconds=1,
    renew_deadline_seconds=0.7,
    retry_period_seconds=0.1,
    request_timeout_seconds=0.3,
)


@dataclass
class SkewedClock:
    """This machine's clock, wall time off by a day, monotonic time movable."""

    wall_offset: timedelta = timedelta(0)
    skipped_seconds: float = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 21, tzinfo=UTC) + self.wall_offset

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.skipped_seconds


@dataclass
class LeaseServer:
    """One Lease with resource versions and the JSON Patch that electors send."""

    lease: dict[str, Any] | None = None
    version: int = 0
    deaf: set[str] = field(default_factory=set)
    forgetful: set[str] = field(default_factory=set)
    writes: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        who = request.headers["User-Agent"]
        if who in self.deaf:
            return await hang(request)
        answer = self._answer(request.method, await request.read())
        if who in self.forgetful:
            return await hang(request)
        return answer

    def _answer(self, method: str, raw: bytes) -> web.Response:
        if method == "GET":
            return self._body() if self.lease else web.json_response({}, status=404)
        body = json.loads(raw)
        if method == "POST":
            if self.lease:
                return web.json_response({"reason": "AlreadyExists"}, status=409)
            spec = body["spec"]
        elif self.lease is None:
            return web.json_response({"reason": "NotFound"}, status=404)
        else:
            precondition, change = body
            if precondition["value"] != self.lease["metadata"]["resourceVersion"]:
                message = "the server rejected our request due to an error in our request"
                return web.json_response({"message": message}, status=422)
            spec = change["value"]
        self.version += 1
        self.lease = {"metadata": {"name": "l", "resourceVersion": str(self.version)}, "spec": spec}
        self.writes.append(spec["holderIdentity"])
        return self._body()

    def _body(self) -> web.Response:
        return web.json_response(self.lease)


@pytest.fixture
def leases(server: ScriptedServer) -> LeaseServer:
    state = LeaseServer()
    server.then(state.handle)
    return state


@asynccontextmanager
async def candidate(
    server: ScriptedServer, name: str, clock: SkewedClock | None = None
) -> AsyncIterator[tuple[Elector, asyncio.Task[None]]]:
    clock = clock or SkewedClock()
    async with await KubeClient.connect_to(
        server.url, clock=clock, user_agent=name, request_timeout_seconds=0.3
    ) as client:
        elector = Elector(
            client,
            namespace="n",
            name="l",
            identity=name,
            timing=TIMING,
            clock=clock,
            recorder=NullRecorder(),
        )
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(elector.run())
            try:
                yield elector, running
            finally:
                running.cancel()


async def test_one_of_two_leads_and_the_other_knows_who(
    server: ScriptedServer, leases: LeaseServer
) -> None:
    async with candidate(server, "a") as (a, _):
        await eventually(lambda: a.leading)
        async with candidate(server, "b") as (b, _):
            await eventually(lambda: b.holder == "a")
            await asyncio.sleep(1.5)
            assert a.leading
            assert not b.leading
            assert not b.may_write(0.0)


async def test_after_an_orderly_stop_the_next_leads_without_waiting_for_the_lease_to_expire(
    server: ScriptedServer, leases: LeaseServer
) -> None:
    async with candidate(server, "a") as (a, task):
        await eventually(lambda: a.leading)
        async with candidate(server, "b") as (b, _):
            await eventually(lambda: b.holder == "a")
            task.cancel()
            await eventually(lambda: b.leading, within=0.8, every=0.02)
            assert not a.leading
    assert leases.lease is not None
    assert leases.lease["spec"]["leaseTransitions"] == 1


async def test_a_leader_that_cannot_renew_stops_before_another_can_begin(
    server: ScriptedServer, leases: LeaseServer
) -> None:
    async with candidate(server, "a") as (a, _):
        await eventually(lambda: a.leading)
        async with candidate(server, "b") as (b, _):
            told: list[tuple[str, bool]] = []
            a.subscribe(lambda leading: told.append(("a", leading)))
            leases.deaf.add("a")
            while not b.leading:
                await asyncio.sleep(0.01)
                assert not (a.leading and b.leading)
            assert not a.leading
            await eventually(lambda: told == [("a", False)])


async def test_other_peoples_wall_clocks_play_no_part(
    server: ScriptedServer, leases: LeaseServer
) -> None:
    slow = SkewedClock(wall_offset=timedelta(days=-1))
    fast = SkewedClock(wall_offset=timedelta(days=+1))
    async with candidate(server, "a", slow) as (a, _):
        await eventually(lambda: a.leading)
        async with candidate(server, "b", fast) as (b, _):
            await asyncio.sleep(1.5)
            assert a.leading
            assert not b.leading


async def test_a_process_that_was_stopped_knows_at_once_that_it_no_longer_leads(
    server: ScriptedServer, leases: LeaseServer
) -> None:
    clock = SkewedClock()
    async with candidate(server, "a", clock) as (a, _):
        await eventually(lambda: a.leading)
        assert a.may_write(0.3)
        clock.skipped_seconds += 5
        assert not a.leading
        assert a.remaining_seconds() == 0.0
        assert not a.may_write(0.0)


@asynccontextmanager
async def lapses_heard(elector: Elector) -> AsyncIterator[list[bool]]:
    heard: list[bool] = []
    elector.subscribe(heard.append)
    yield heard


@pytest.mark.fault(21)
async def test_a_lapse_that_a_renewal_ends_before_anybody_looks_is_told_all_the_same(
    server: ScriptedServer, leases: LeaseServer
) -> None:
    clock = SkewedClock()
    async with candidate(server, "a", clock) as (a, _):
        await eventually(lambda: a.leading)
        async with lapses_heard(a) as heard:
            clock.skipped_seconds += TIMING.renew_deadline_seconds  # the loop stood for so long
            assert not a.leading
            await eventually(lambda: a.leading, every=0.01)
            await eventually(lambda: heard == [False, True], every=0.01)


async def test_a_lapse_is_told_while_the_renewal_that_ends_it_is_still_under_way(
    server: ScriptedServer, leases: LeaseServer
) -> None:
    async with candidate(server, "a") as (a, _):
        await eventually(lambda: a.leading)
        async with lapses_heard(a) as heard:
            leases.deaf.add("a")
            await eventually(lambda: heard == [False], within=3, every=0.01)
            leases.deaf.clear()
            await eventually(lambda: heard == [False, True], within=3, every=0.01)


async def test_no_write_begins_that_could_outlast_the_lease(
    server: ScriptedServer, leases: LeaseServer
) -> None:
    async with candidate(server, "a") as (a, _):
        await eventually(lambda: a.leading)
        assert 0 < a.remaining_seconds() <= TIMING.duration_seconds
        assert not a.may_write(TIMING.duration_seconds)


async def test_a_renewal_whose_answer_is_lost_is_recognised_as_our_own(
    server: ScriptedServer, leases: LeaseServer
) -> None:
    async with candidate(server, "a") as (a, _):
        await eventually(lambda: a.leading)
        leases.forgetful.add("a")
        await asyncio.sleep(0.35)
        leases.forgetful.clear()
        await eventually(lambda: a.remaining_seconds() > 0.8, within=3)
        assert set(leases.writes) == {"a"}


async def test_a_stop_while_a_renewal_is_under_way_gives_the_lease_back_all_the_same(
    server: ScriptedServer, leases: LeaseServer
) -> None:
    async with candidate(server, "a") as (a, task):
        await eventually(lambda: a.leading)
        leases.forgetful.add("a")
        before = leases.version
        await eventually(lambda: leases.version > before, every=0.005)
        leases.forgetful.clear()
        task.cancel()
        await eventually(task.done)
    assert leases.lease is not None
    assert leases.lease["spec"]["holderIdentity"] == ""


async def test_a_lease_that_somebody_deleted_is_made_anew(
    server: ScriptedServer, leases: LeaseServer
) -> None:
    async with candidate(server, "a") as (a, _):
        await eventually(lambda: a.leading)
        leases.lease = None
        await eventually(lambda: leases.lease is not None, within=3)
        await eventually(lambda: a.leading, within=3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"duration_seconds": 10, "renew_deadline_seconds": 10.0},
        {"renew_deadline_seconds": 8.0, "request_timeout_seconds": 4.0},
    ],
)
def test_timing_that_cannot_work_is_refused_with_its_numbers(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"\d+ s\) must be longer than"):
        LeaseTiming(**wrong)
