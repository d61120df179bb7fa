"""The Prometheus adapter: what it makes of good answers, and of every kind of bad one.

The same adapter meets the real server in ``tests/cluster/test_traffic.py``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from metrics.core.traffic import Sample, Target
from metrics.core.traffic_providers import TRAEFIK
from metrics.errors import (
    PrometheusDownError,
    PrometheusError,
    PrometheusGarbledError,
    PrometheusPartialError,
    PrometheusRefusedError,
)
from metrics.sources import queries
from metrics.sources.prometheus import Prometheus

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers every query as the test says, and remembers what was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[dict[str, str]] = []
        self.answer: Answer = self._nothing

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        return await self.answer(request)

    def says(self, result: object, **more: object) -> None:
        body = {"status": "success", "data": {"result": result}, **more}
        self.answers(web.json_response, body)

    def answers(self, make: Callable[..., web.Response], *args: object, **options: object) -> None:
        async def answer(_: web.Request) -> web.StreamResponse:
            return make(*args, **options)

        self.answer = answer

    async def _nothing(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"status": "success", "data": {"result": []}})


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_get("/prom/api/v1/query", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/prom/"
    yield server
    await runner.cleanup()


@pytest.fixture
async def prometheus(server: Server) -> AsyncIterator[Prometheus]:
    async with Prometheus(server.url, timeout_seconds=0.5) as prometheus:
        yield prometheus


async def test_a_matrix_keeps_labels_and_raw_samples(
    server: Server, prometheus: Prometheus
) -> None:
    labels = {"__name__": "x", "job": "j", "instance": "i"}
    server.says([{"metric": labels, "values": [[100.5, "1"], [115.5, "2.5"]]}])
    (series,) = await prometheus.matrix("x[1m]", at=1234.5678)
    assert series.labels == labels
    assert series.target == Target("j", "i")
    assert series.samples == (Sample(100.5, 1.0), Sample(115.5, 2.5))
    assert server.asked == [{"query": "x[1m]", "time": "1234.568"}]


async def test_a_vector_has_one_sample_each_and_a_scalar_is_a_number(
    server: Server, prometheus: Prometheus
) -> None:
    server.says([{"metric": {}, "value": [100.5, "NaN"]}])
    (series,) = await prometheus.vector("up", at=1.0)
    assert [sample.at for sample in series.samples] == [100.5]
    server.says([1234.5, "1234.5"])
    assert await prometheus.scalar("time()") == 1234.5


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda s: s.says([], warnings=["remote read failed"]), PrometheusPartialError),
        (lambda s: s.answers(web.json_response, {}, status=503), PrometheusRefusedError),
        (
            lambda s: s.answers(web.json_response, {"error": "x"}, status=400),
            PrometheusRefusedError,
        ),
        (lambda s: s.answers(web.Response, text="<html>", status=200), PrometheusGarbledError),
        (lambda s: s.answers(web.json_response, {"status": "success"}), PrometheusGarbledError),
        (lambda s: s.says([{"metric": {}}]), PrometheusGarbledError),
        (lambda s: s.says([{"metric": {}, "values": [[1, "x"]]}]), PrometheusGarbledError),
        (lambda s: s.says("nothing"), PrometheusGarbledError),
    ],
)
async def test_an_answer_that_may_not_be_relied_on_is_an_error_of_its_kind(
    server: Server,
    prometheus: Prometheus,
    prepare: Callable[[Server], None],
    expected: type[PrometheusError],
) -> None:
    prepare(server)
    with pytest.raises(expected):
        await prometheus.matrix("x[1m]", at=1.0)
    assert len(server.asked) == 1  # a failure is told at once, not tried again behind our back


async def test_a_warning_blames_only_the_answer_that_carried_it(
    server: Server, prometheus: Prometheus
) -> None:
    server.says([], warnings=["partial"])
    with pytest.raises(PrometheusPartialError, match="partial"):
        await prometheus.matrix("x[1m]", at=1.0)
    server.says([])
    assert await prometheus.matrix("x[1m]", at=1.0) == ()


async def test_a_server_that_does_not_answer_is_down(
    server: Server, prometheus: Prometheus
) -> None:
    async def never(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    server.answer = never
    with pytest.raises(PrometheusDownError):
        await prometheus.scalar("time()")


async def test_an_answer_that_only_trickles_is_given_up(
    server: Server, prometheus: Prometheus
) -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(30):
            await response.write(b" ")
            await asyncio.sleep(0.1)
        return response

    server.answer = trickle
    with pytest.raises(PrometheusDownError, match="no whole answer within 1 s"):
        await prometheus.scalar("time()")


async def test_nobody_there_is_down() -> None:
    async with Prometheus("http://127.0.0.1:1", timeout_seconds=0.5) as prometheus:
        with pytest.raises(PrometheusDownError):
            await prometheus.scalar("time()")


class TestQueries:
    def test_targets_are_matched_exactly_whatever_their_names_hold(self) -> None:
        target = Target('a"b\\c', "10.0.0.1:80")
        query = queries.starts(TRAEFIK, [target], over_seconds=60)
        assert query == (
            'process_start_time_seconds{job=~"a\\"b\\\\\\\\c",'
            'instance=~"10\\\\.0\\\\.0\\\\.1:80"}[60001ms]'
        )

    def test_ranges_are_milliseconds_and_overlap_by_one(self) -> None:
        for seconds, expected in ((0.0, 1), (1.5, 1501), (0.0004, 2)):
            found = re.search(r"\[(\d+)ms\]$", queries.alive(TRAEFIK, over_seconds=seconds))
            assert found is not None
            assert int(found[1]) == expected


@pytest.mark.fault(17)
@pytest.mark.parametrize("number", ["NaN", "+Inf", "-Inf", "1e999"])
async def test_an_instant_that_is_no_number_is_garbled(server: Server, number: str) -> None:
    async with Prometheus(server.url, timeout_seconds=5) as prometheus:
        server.says([1700000000, number])
        with pytest.raises(PrometheusGarbledError):
            await prometheus.scalar("time()")
        server.says([{"metric": {}, "values": [[number, "1"]]}])
        with pytest.raises(PrometheusGarbledError):
            await prometheus.matrix("up[1m]", at=0)
