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
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from metrics.core.audit import AuditEvent, AuditRules
from metrics.core.steps import TimeLine
from metrics.core.streams import StreamTable
from metrics.instruments import PrometheusRecorder
from sleeper.api.listening import listening
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
CPU_SHARE = Figure(name=f"{_WHAT}: events a second of the sink's own CPU ÷ bare decode")
RATE = Figure(name=f"{_WHAT}: events", unit="/s", places=0)
_PART = "CPU of the sink for each event"
DECODING = Figure(name=f"{_PART}: decoding", unit="µs")
CLASSIFYING = Figure(name=f"{_PART}: classification", unit="µs")
FOLDING = Figure(name=f"{_PART}: folding and counting", unit="µs")
DECRYPTING = Figure(name=f"{_PART}: decryption", unit="µs")
MOVING = Figure(name=f"{_PART}: the rest: sockets, event loop, HTTP, and cold caches", unit="µs")


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
        line=TimeLine(clock, limit=timedelta(seconds=2)),
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


def classified_rate(bodies: list[bytes]) -> float:
    """Events per second of CPU time through the rules alone, each batch freshly decoded."""
    rules = AuditRules(own_agent="sleeper")
    spent = 0.0
    for one in bodies * 3:
        events = _SPARSE.decode(one).items
        began = time.process_time()
        rules.read(events, SPACES.__contains__)
        spent += time.process_time() - began
    return 3 * len(bodies) * EVENTS / spent


def decrypted_rate(bodies: list[bytes], server: Pair, bundle: Path) -> float:
    """Events per second of CPU time through TLS alone, in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = tls_context(certificate=server.certificate, key=server.key, client_ca=None)
    receiving = tls.wrap_bio(to_server, to_client, server_side=True)
    context = ssl.create_default_context(cafile=str(bundle))
    sending = context.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    for side in (sending, receiving, sending, receiving):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    room, spent = memoryview(bytearray(max(map(len, bodies)))), 0.0
    for one in bodies * 3:
        sending.write(one)
        records = to_server.read()
        began, got = time.process_time(), 0
        to_server.write(records)
        while got < len(one):
            # into a buffer it returns how much there was, which its annotation does not know
            got += receiving.read(len(one) - got, room[got:])  # type: ignore[operator]
        spent += time.process_time() - began
    return 3 * len(bodies) * EVENTS / spent


async def sink_rates(
    authority: Authority, server: Pair, client: Pair, seconds: float
) -> tuple[float, float]:
    """Events through the whole sink: per second, and per second of its own CPU time."""
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
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listening("127.0.0.1", 0, section="api_signal"))
        port = await stack.enter_async_context(serve(sink, listener, tls=tls))
        process = multiprocessing.get_context("spawn").Process(
            target=send, args=(port, str(authority.bundle), client, seconds)
        )
        process.start()
        while intake.events == 0:  # noqa: ASYNC110 an event would cost the path under test
            await asyncio.sleep(0.01)
        before, began, cpu_began = intake.events, time.perf_counter(), time.process_time()
        await asyncio.sleep(seconds * 0.8)
        taken = intake.events - before
        rate = taken / (time.perf_counter() - began)
        cpu_rate = taken / (time.process_time() - cpu_began)
        await asyncio.to_thread(process.join)
        assert process.exitcode == 0
    assert intake.activities, "the batches hold people's events"
    return rate, cpu_rate


async def measure() -> Mapping[Figure, float]:
    """Measure in rounds: how fast a machine is may change within seconds."""
    bodies = make_bodies()
    rounds = [await _one_round(bodies) for _ in range(ROUNDS)]

    def median(of: Callable[[_Round], float]) -> float:
        return statistics.median(of(found) for found in rounds)

    parts = {
        DECODING: median(lambda found: 1e6 / found.sparse),
        CLASSIFYING: median(lambda found: 1e6 / found.classified),
        FOLDING: median(lambda f: 1e6 * (1 / f.intake - 1 / f.sparse - 1 / f.classified)),
        DECRYPTING: median(lambda found: 1e6 / found.decrypted),
        MOVING: median(lambda f: 1e6 * (1 / f.sink_cpu - 1 / f.intake - 1 / f.decrypted)),
    }
    return parts | {
        SPARSE_SHARE: median(lambda found: found.sink / found.sparse),
        WHOLE_SHARE: median(lambda found: found.sink / found.whole),
        CPU_SHARE: median(lambda found: found.sink_cpu / found.sparse),
        INTAKE_SHARE: median(lambda found: found.intake / found.sparse),
        RATE: median(lambda found: found.sink),
    }


class _Round(NamedTuple):
    """Events per second; all but ``sink`` of CPU time."""

    sink: float
    sink_cpu: float
    sparse: float
    whole: float
    intake: float
    classified: float
    decrypted: float


async def _one_round(bodies: list[bytes]) -> _Round:
    with tempfile.TemporaryDirectory() as directory:
        authority = Authority(Path(directory))
        server, client = authority.issue("server"), authority.issue("client")

        def alone() -> tuple[float, ...]:
            return (
                bare_rate(bodies),
                bare_rate(bodies, _WHOLE),
                intake_rate(bodies),
                classified_rate(bodies),
                decrypted_rate(bodies, server, authority.bundle),
            )

        before = alone()
        through = await sink_rates(authority, server, client, SECONDS)
        after = alone()
    return _Round(*through, *map(statistics.mean, zip(before, after, strict=True)))


BENCH = Bench(
    figures=(
        *(SPARSE_SHARE, WHOLE_SHARE, CPU_SHARE, INTAKE_SHARE, RATE),
        *(DECODING, CLASSIFYING, FOLDING, DECRYPTING, MOVING),
    ),
    measure=measure,
)
