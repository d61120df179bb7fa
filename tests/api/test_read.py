"""The read API over real HTTP, on values instead of a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from billing.core.power import PowerInterval
from billing.core.requests import NOTHING, Requests
from billing.core.reservation import Reservation
from billing.core.statement import Span, Statement, StatementQuery, make_statement
from metrics.core.refs import SpaceRef
from metrics.instruments import PrometheusRecorder
from sleeper.api.app import build_app
from sleeper.errors import StoreError
from sleeper.telemetry.clock import SystemClock
from tests.support.serving import served

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SPACE = SpaceRef(uid="uid-a", name="space-a", tenant="acme")
BIG = 1 << 62


class FixedClock:
    def now(self) -> datetime:
        return NOON

    def monotonic(self) -> float:
        return 0.0


@dataclass(frozen=True, kw_only=True)
class Seen:
    space: str
    since: datetime
    idle_for: timedelta


class Spaces:
    def overview(self) -> Sequence[Seen]:
        return [Seen(space="space-a", since=NOON, idle_for=timedelta(minutes=90))]

    def explanation(self, name: str) -> Seen | None:
        return self.overview()[0] if name == "space-a" else None

    def missing(self, name: str) -> str:
        return f"there is no Space named {name!r}"


class Statements:
    broken = False

    async def statement(self, query: StatementQuery) -> Statement:
        if self.broken:
            raise StoreError("the database is locked")
        start = int(NOON.timestamp()) - 3600
        return make_statement(
            query,
            reservations=[
                Reservation(
                    pod_uid="p",
                    space=SPACE,
                    start=start,
                    end=start + 120,
                    requests=Requests(cpu_millis=500, memory_bytes=BIG),
                )
            ],
            power=[
                PowerInterval(
                    space=SPACE, state="Awake", freed=NOTHING, start=start, end=start + 120
                )
            ],
            spans=[Span(start=start, end=start + 3600)],
        )


class Running:
    def __init__(self, url: str, statements: Statements, sick: list[str]) -> None:
        self.url = url
        self.statements = statements
        self.sick = sick

    async def get(self, path: str) -> tuple[int, str, str]:
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
            return answer.status, answer.content_type, await answer.text()

    async def json(self, path: str) -> Any:
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
            assert answer.status == 200
            return await answer.json()


@pytest_asyncio.fixture
async def running() -> AsyncIterator[Running]:
    statements = Statements()
    sick: list[str] = []
    app = build_app(
        spaces=Spaces(),
        statements=statements,
        live={},
        ready={
            "inventory": lambda: sick[0] if sick else None,
            "records": lambda: None,
        },
        metrics=PrometheusRecorder(SystemClock()).aiohttp_handler(),
        clock=FixedClock(),
    )
    async with served(app) as port:
        yield Running(f"http://127.0.0.1:{port}", statements, sick)


async def test_spaces_are_listed_with_instants_and_durations_as_people_write_them(
    running: Running,
) -> None:
    assert (await running.json("/api/v1/spaces"))["spaces"] == [
        {"space": "space-a", "since": "2026-11-21T12:00:00Z", "idle_for": "1h30m"}
    ]


async def test_an_explanation_is_the_value_itself(running: Running) -> None:
    assert (await running.json("/api/v1/spaces/space-a"))["idle_for"] == "1h30m"


async def test_a_space_that_is_not_there_is_a_problem_that_a_program_can_read(
    running: Running,
) -> None:
    status, kind, text = await running.get("/api/v1/spaces/nobody")
    assert (status, kind) == (404, "application/problem+json")
    assert "'nobody'" in text


async def test_a_statement_carries_exact_integers_of_any_size(running: Running) -> None:
    statement = await running.json("/api/v1/usage?per=minute&by=tenant")
    assert [line["memory_byte_seconds"] for line in statement["lines"]] == [BIG * 60] * 2
    assert statement["total"]["memory_byte_seconds"] == BIG * 120
    assert statement["total"]["cpu_milli_seconds"] == 60_000
    assert statement["lines"][0]["tenant"] == "acme"
    assert statement["lines"][0]["start"] == "2026-11-21T11:00:00Z"
    assert statement["since"] == "2026-11-20T12:00:00Z"
    assert statement["gaps"] == [{"start": "2026-11-20T12:00:00Z", "end": "2026-11-21T11:00:00Z"}]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("per=year", "none of minute, hour, day"),
        ("since=yesterday", "RFC 3339"),
        ("zone=Mars/Olympus", "IANA"),
        ("form=csv", "unknown parameter"),
        ("since=2026-11-21T12:00:00Z", "the range is empty"),
        ("since=2020-01-01T00:00:00Z&per=minute", "a shorter range or a coarser grain"),
    ],
)
async def test_a_question_that_makes_no_sense_is_a_bad_request(
    running: Running, query: str, said: str
) -> None:
    status, kind, text = await running.get(f"/api/v1/usage?{query}")
    assert (status, kind) == (400, "application/problem+json")
    assert said in text


async def test_a_locked_database_is_said(running: Running) -> None:
    running.statements.broken = True
    status, _, text = await running.get("/api/v1/usage")
    assert status == 503
    assert "the database is locked" in text


async def test_readyz_names_the_check_that_fails(running: Running) -> None:
    assert (await running.get("/readyz"))[0] == 200
    assert "[+]records ok" in (await running.get("/readyz?verbose"))[2]
    running.sick.append("pods: 403 Forbidden")
    status, _, text = await running.get("/readyz")
    assert status == 503
    assert "[-]inventory: pods: 403 Forbidden" in text
    assert (await running.get("/livez"))[0] == 200


async def test_metrics_are_served(running: Running) -> None:
    status, _, text = await running.get("/metrics")
    assert status == 200
    assert "sleeper_decide_seconds" in text


@pytest.mark.fault(17)
@pytest.mark.parametrize(
    "query",
    [
        "since=0001-01-01T00:00:00Z&until=9999-12-31T23:59:59.999999Z",
        "until=0001-01-01T00:00:00Z",
        "since=9999-12-31T00:00:00Z&until=9999-12-31T23:59:59Z&zone=Asia/Tokyo",
        "since=0001-01-01T00:00:00Z&until=0001-01-02T00:00:00Z&zone=America/New_York&per=minute",
    ],
)
async def test_a_range_at_the_ends_of_the_calendar_is_refused_with_a_sentence(
    running: Running, query: str
) -> None:
    status, kind, text = await running.get(f"/api/v1/usage?{query}")
    assert (status, kind) == (400, "application/problem+json"), text
