"""Throughput of the audit sink over TLS, as a share of bare decoding.

Batches of 400 events of about 1 KB, most of them about nothing (controllers, watches, other
namespaces), over kept-alive TLS connections, from a client in a process of its own; against a
bare msgspec decode of the very same bodies before and after, in rounds.
"""

from __future__ import annotations

import asyncio
import http.client
import multiprocessing
import ssl
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from metrics.core.audit import AuditEvent, AuditRules
from metrics.core.streams import StreamTable
from metrics.instruments import PrometheusRecorder
from sleeper.api.sink import AuditSink, Authenticator, SinkLimits, serve, tls_context
from sleeper.control.intake import AuditIntake
from sleeper.telemetry.clock import SystemClock
from tests.bench.figure import Bench, Figure
from tests.support.audit_events import body, event
from tests.support.certificates import Authority, Pair

EVENTS = 400
CONNECTIONS = 4
BODIES = 20
ROUNDS = 7
SECONDS = 1.5
SPACES = frozenset(f"team-{number}" for number in range(500))

_WHAT = f"Audit sink over TLS, batches of {EVENTS} events, {CONNECTIONS} connections"
SPARSE_SHARE = Figure(name=f"{_WHAT}: events a second ÷ bare decode", at_least=0.60)
WHOLE_SHARE = Figure(name=f"{_WHAT}: ÷ bare decode of whole events, untyped")
INTAKE_SHARE = Figure(name="The same without TLS and HTTP: ÷ bare decode")
RATE = Figure(name=f"{_WHAT}: events", unit="/s", places=0)


class _BareList(msgspec.Struct, gc=False):
    items: list[AuditEvent]


_SPARSE: Final = msgspec.json.Decoder(_BareList)
"""Into what the rules read, as the sink decodes: the strict yardstick."""

_WHOLE: Final = msgspec.json.Decoder()
"""Into everything that is there, as a reader without types would."""


def make_bodies() -> list[bytes]:
    """Batches in which one event in ten is a person's in a Space."""
    kinds: list[dict[str, Any]] = [
        {"user": "system:serviceaccount:argocd:argocd-application-controller"},
        {"user": "system:serviceaccount:kube-system:deployment-controller", "verb": "update"},
        {"verb": "watch"},
        {"namespace": "monitoring"},
        {"namespace": "kube-system", "user": "system:kube-scheduler"},
        {"resource": "leases", "verb": "update", "user": "system:serviceaccount:a:operator"},
        {"agent": "flux/v2.4", "user": "gitops@example.com"},
        {"user": "system:node:node-3", "verb": "patch"},
        {"namespace": "default"},
        {},
    ]
    return [
        body(
            event(**{"namespace": f"team-{(batch * EVENTS + n) % 500}", **kinds[n % len(kinds)]})
            for n in range(EVENTS)
        )
        for batch in range(BODIES)
    ]


def bare_rate(bodies: list[bytes], decoder: msgspec.json.Decoder[Any] = _SPARSE) -> float:
    """Events per second of CPU time of a bare decode."""
    times = []
    for one in bodies * 3:
        began = time.process_time()
        decoder.decode(one)
        times.append(time.process_time() - began)
    return EVENTS / statistics.mean(times)


def send(port: int, bundle: str, pair: Pair, seconds: float) -> None:
    """The client's process: posts as fast as it is answered."""
    bodies = make_bodies()
    context = ssl.create_default_context(cafile=bundle)
    context.load_cert_chain(pair.certificate, pair.key)
    until = time.perf_counter() + seconds

    def post() -> None:
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context)
        headers = {"Content-Type": "application/json"}
        turn = 0
        while time.perf_counter() < until:
            connection.request("POST", "/audit/bench", bodies[turn % BODIES], headers)
            response = connection.getresponse()
            response.read()
            assert response.status == http.HTTPStatus.OK
            turn += 1
        connection.close()

    threads = [threading.Thread(target=post) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class _CountingIntake(AuditIntake):
    events = 0

    def receive(self, apiserver: str, body: bytes | bytearray | memoryview) -> int:
        events = super().receive(apiserver, body)
        self.events += events
        return events


def make_intake() -> _CountingIntake:
    """What the daemon has behind its sink."""
    clock = SystemClock()
    return _CountingIntake(
        apiservers=frozenset({"bench"}),
        rules=AuditRules(own_agent="sleeper"),
        is_space=SPACES.__contains__,
        streams=StreamTable(bound=timedelta(hours=4)),
        clock=clock,
        recorder=PrometheusRecorder(clock),
    )


def intake_rate(bodies: list[bytes]) -> float:
    """Events per second of CPU time through the intake alone: no TLS, no HTTP."""
    intake = make_intake()
    began = time.process_time()
    for one in bodies * 3:
        intake.receive("bench", one)
    return intake.events / (time.process_time() - began)


async def sink_rate(directory: Path, seconds: float) -> float:
    """Events per second through the whole sink."""
    authority = Authority(directory)
    server, client = authority.issue("server"), authority.issue("client")
    clock = SystemClock()
    intake = make_intake()
    sink = AuditSink(
        intake,
        authenticator=Authenticator(token_file=None),
        apiservers=frozenset({"bench"}),
        clock=clock,
        recorder=PrometheusRecorder(clock),
        limits=SinkLimits(),
    )
    tls = tls_context(certificate=server.certificate, key=server.key, client_ca=authority.bundle)
    async with serve(sink, host="127.0.0.1", port=0, tls=tls) as port:
        process = multiprocessing.get_context("spawn").Process(
            target=send, args=(port, str(authority.bundle), client, seconds)
        )
        process.start()
        while intake.events == 0:  # noqa: ASYNC110 an event would cost the path under test
            await asyncio.sleep(0.01)
        before, began = intake.events, time.perf_counter()
        await asyncio.sleep(seconds * 0.8)
        taken = intake.events - before
        rate = taken / (time.perf_counter() - began)
        await asyncio.to_thread(process.join)
        assert process.exitcode == 0
    assert intake.activities, "the batches hold people's events"
    return rate


async def measure() -> Mapping[Figure, float]:
    """Measure in rounds: how fast a machine is may change within seconds."""
    bodies = make_bodies()
    rounds = [await _one_round(bodies) for _ in range(ROUNDS)]
    return {
        SPARSE_SHARE: statistics.median(found.sink / found.sparse for found in rounds),
        WHOLE_SHARE: statistics.median(found.sink / found.whole for found in rounds),
        INTAKE_SHARE: statistics.median(found.intake / found.sparse for found in rounds),
        RATE: statistics.median(found.sink for found in rounds),
    }


class _Round(NamedTuple):
    """Events per second."""

    sink: float
    intake: float
    sparse: float
    whole: float


async def _one_round(bodies: list[bytes]) -> _Round:
    before = bare_rate(bodies), bare_rate(bodies, _WHOLE), intake_rate(bodies)
    with tempfile.TemporaryDirectory() as directory:
        sink = await sink_rate(Path(directory), SECONDS)
    after = bare_rate(bodies), bare_rate(bodies, _WHOLE), intake_rate(bodies)
    sparse, whole, intake = map(statistics.mean, zip(before, after, strict=True))
    return _Round(sink=sink, intake=intake, sparse=sparse, whole=whole)


BENCH = Bench(figures=(SPARSE_SHARE, WHOLE_SHARE, INTAKE_SHARE, RATE), measure=measure)
