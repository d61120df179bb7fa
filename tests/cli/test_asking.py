"""``sleeper explain`` and ``sleeper usage`` as a person sees them, over a real read API."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial

import pytest
import pytest_asyncio
from aiohttp import web

from billing.core.requests import Requests
from billing.core.reservation import Reservation
from billing.core.statement import Span, Statement, StatementQuery, make_statement
from metrics.core.refs import SpaceRef
from metrics.instruments import PrometheusRecorder
from sleeper.api.app import build_app
from sleeper.cli.exits import ExitCode
from sleeper.core.decide import decide
from sleeper.core.explain import Explanation, explain
from sleeper.core.policy import PolicyDefaults
from sleeper.errors import NotReadyError
from sleeper.telemetry.clock import SystemClock
from tests.core.values import NOW, minutes, policy, snapshot, touch
from tests.support.serving import served

Ask = Callable[..., Awaitable[subprocess.CompletedProcess[str]]]

BERLIN_MIDNIGHT = int(datetime(2026, 11, 20, 23, tzinfo=UTC).timestamp())


class Spaces:
    def overview(self) -> Sequence[object]:
        return []

    def explanation(self, name: str) -> Explanation | None:
        if name == "too-early":
            raise NotReadyError("nothing can be said of Spaces yet: the records are not listed yet")
        sleep_after = "soon" if name == "unreadable" else "30m"
        defaults = PolicyDefaults(set_in=(("sleeper.dev/mode", "mode (file sleeper.yaml)"),))
        reading = policy({"sleep-after": sleep_after, "nap": "long"}, defaults=defaults)
        seen = snapshot(last_activity=touch(NOW - minutes(10)))
        return explain(seen, reading, decide(seen, reading, NOW), NOW)

    def missing(self, name: str) -> str:
        return f"there is no Space named {name!r}"


class Statements:
    """One Pod for two hours, of which the meter saw the second one and a half."""

    async def statement(self, query: StatementQuery) -> Statement:
        begin = BERLIN_MIDNIGHT
        return make_statement(
            query,
            reservations=[
                Reservation(
                    pod_uid="p",
                    space=SpaceRef(uid="u", name="shop", tenant="acme"),
                    start=begin,
                    end=begin + 7200,
                    requests=Requests(cpu_millis=1000, memory_bytes=2**30),
                )
            ],
            power=[],
            spans=[Span(start=begin + 1800, end=begin + 7200)],
        )


async def ask_on(port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command against what listens there."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "sleeper", *arguments, "--server", f"http://127.0.0.1:{port}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest_asyncio.fixture
async def ask() -> AsyncIterator[Ask]:
    app = build_app(
        spaces=Spaces(),
        statements=Statements(),
        live={},
        ready={},
        metrics=PrometheusRecorder(SystemClock()).aiohttp_handler(),
        clock=SystemClock(),
    )
    async with served(app) as port:
        yield partial(ask_on, port)


async def test_an_explanation_is_laid_out_for_reading(ask: Ask) -> None:
    ran = await ask("explain", "team-a-dev")
    assert ran.returncode == ExitCode.OK, ran.stderr
    paragraphs = [part.splitlines() for part in ran.stdout.split("\n\n")]
    assert paragraphs[0] == ["team-a-dev (tenant team-a) is Awake"]
    sections = {lines[0]: lines[1:] for lines in paragraphs[1:]}
    assert list(sections) == ["decision:", "saw:", "settings:", "warnings:", "would change:"]
    assert "  verdict          StayAwake" in sections["decision:"]
    assert "  next transition  2026-11-18T12:25:00Z (in 25m)" in sections["decision:"]
    settings = [line.split(maxsplit=2) for line in sections["settings:"]]
    assert ["mode", "act", "configuration mode (file sleeper.yaml)"] in settings
    assert ["notice", "10m", "built in"] in settings
    assert {tuple(" ".join(setting).split()) for setting in settings} >= {
        ("sleep-after", "30m", "annotation", "<-", "decided")
    }
    assert any(line.startswith("  signal api  has seen everything") for line in sections["saw:"])


async def test_a_refused_annotation_stands_beside_the_value_that_holds_instead(ask: Ask) -> None:
    ran = await ask("explain", "unreadable")
    assert ran.returncode == ExitCode.OK, ran.stderr
    (line,) = (line for line in ran.stdout.splitlines() if line.startswith("  sleep-after "))
    held, refused = line.split("<- decided")
    assert held.split() == ["sleep-after", "never", "built", "in"]
    assert refused.strip().startswith("the annotation 'soon' cannot be read")


async def test_usage_is_labelled_with_the_clock_of_the_zone_that_was_asked_for(ask: Ask) -> None:
    asked = ("--zone", "Europe/Berlin", "--since", "2026-11-20T23:00:00Z")
    until = ("--until", "2026-11-21T01:00:00Z", "--per", "hour")
    ran = await ask("usage", *asked, *until)
    assert ran.returncode == ExitCode.OK, ran.stderr
    rows = [line.split() for line in ran.stdout.splitlines()]
    assert rows[1][:2] == ["2026-11-21", "00:00+01:00"]
    assert rows[2][:2] == ["2026-11-21", "01:00+01:00"]


async def test_usage_marks_the_lines_that_the_meter_did_not_see_whole(ask: Ask) -> None:
    asked = ("--since", "2026-11-20T23:00:00Z", "--until", "2026-11-21T01:00:00Z", "--per", "hour")
    ran = await ask("usage", *asked)
    header, first, second, total, coverage = ran.stdout.splitlines()
    assert header.split()[-1] == "SEEN"
    assert [line.split()[-1] for line in (first, second, total)] == ["50%", "100%", "75%"]
    assert coverage.endswith("saw 1:30:00 of 2:00:00: what it did not see is unknown, not zero")


async def test_a_question_that_makes_no_sense_is_a_usage_error(ask: Ask) -> None:
    ran = await ask("usage", "--zone", "Mars/Olympus")
    assert ran.returncode == ExitCode.USAGE
    assert "'Mars/Olympus' is not an IANA time zone" in ran.stderr


@pytest.mark.fault(13)
async def test_a_daemon_that_does_not_know_yet_what_sleeps_says_so(ask: Ask) -> None:
    ran = await ask("explain", "too-early")
    assert ran.returncode == ExitCode.ERROR
    said = "nothing can be said of Spaces yet: the records are not listed yet"
    assert ran.stderr.strip().endswith(said)
    assert ran.stdout == ""


@pytest.mark.parametrize("question", [("explain", "team-a-dev"), ("usage",)])
async def test_another_program_on_that_port_is_not_taken_for_the_daemon(
    question: tuple[str, ...],
) -> None:
    async def somebody_else(_request: web.Request) -> web.Response:
        return web.json_response({"pod": "10.0.0.1"})

    app = web.Application()
    app.router.add_get("/{path:.*}", somebody_else)
    async with served(app) as port:
        ran = await ask_on(port, *question)
    assert ran.returncode == ExitCode.UNREACHABLE
    assert "is not sleeper's read API" in ran.stderr
    assert "Traceback" not in ran.stderr


async def test_little_seen_of_a_long_time_is_not_shown_as_nothing(ask: Ask) -> None:
    ran = await ask("usage", "--since", "2026-11-11T01:00:00Z", "--until", "2026-11-21T01:00:00Z")
    (total,) = (line for line in ran.stdout.splitlines() if line.startswith("total"))
    assert total.split()[-1] == "<1%"
