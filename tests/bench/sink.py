"""Throughput of the audit sink over TLS, as a share of bare decoding.

Batches of 400 events of about 1 KB, most of them about nothing (controllers, watches, other
namespaces), over kept-alive TLS connections, from a client in a process of its own; against a
bare msgspec decode of the very same bodies before and after in the same run.

Run: ``python -m tests.bench.sink [SECONDS]``
"""

from __future__ import annotations

import asyncio
import http.client
import multiprocessing
import ssl
import statistics
import sys
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path

import msgspec

from metrics.core.audit import AuditEvent, AuditRules
from metrics.core.streams import StreamTable
from metrics.instruments import PrometheusRecorder
from sleeper.api.sink import AuditSink, Authenticator, SinkLimits, serve, tls_context
from sleeper.control.intake import AuditIntake
from sleeper.telemetry.clock import SystemClock
from tests.support.audit_events import body, event
from tests.support.certificates import Authority, Pair

GOAL = 0.60
EVENTS = 400
CONNECTIONS = 4
BODIES = 20
SPACES = frozenset(f"team-{number}" for number in range(500))


class _BareList(msgspec.Struct, gc=False):
    items: list[AuditEvent]


def make_bodies() -> list[bytes]:
    """Batches in which one event in ten is a person's in a Space."""
    kinds: list[dict[str, str]] = [
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


def bare_rate(bodies: list[bytes]) -> float:
    """Events per second of CPU time of a bare decode."""
    decoder = msgspec.json.Decoder(_BareList)
    times = []
    for one in bodies * 10:
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

    def receive(self, apiserver: str, body: bytes) -> int:
        events = super().receive(apiserver, body)
        self.events += events
        return events


async def sink_rate(directory: Path, seconds: float) -> tuple[float, float]:
    """Events through the whole sink: per second, and per second of the sink's own CPU time."""
    authority = Authority(directory)
    server, client = authority.issue("server"), authority.issue("client")
    clock = SystemClock()
    recorder = PrometheusRecorder(clock)
    intake = _CountingIntake(
        apiservers=frozenset({"bench"}),
        rules=AuditRules(own_agent="sleeper"),
        is_space=SPACES.__contains__,
        streams=StreamTable(bound=timedelta(hours=4)),
        clock=clock,
        recorder=recorder,
    )
    sink = AuditSink(
        intake,
        authenticator=Authenticator(token_file=None),
        apiservers=frozenset({"bench"}),
        clock=clock,
        recorder=recorder,
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
        before, began, cpu_began = intake.events, time.perf_counter(), time.process_time()
        await asyncio.sleep(seconds * 0.8)
        taken = intake.events - before
        rate = taken / (time.perf_counter() - began)
        cpu_rate = taken / (time.process_time() - cpu_began)
        await asyncio.to_thread(process.join)
        assert process.exitcode == 0
    assert intake.activities, "the batches hold people's events"
    return rate, cpu_rate


def main() -> None:
    """Print the figures."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    bodies = make_bodies()
    size = sum(map(len, bodies)) / BODIES / EVENTS
    first = bare_rate(bodies)
    with tempfile.TemporaryDirectory() as directory:
        rate, cpu_rate = asyncio.run(sink_rate(Path(directory), seconds))
    bare = statistics.mean((first, bare_rate(bodies)))
    print(f"events of {size:.0f} bytes, {EVENTS} a batch, {CONNECTIONS} TLS connections")
    print(f"bare decode  {bare:10,.0f} events/s")
    print(f"sink         {rate:10,.0f} events/s")
    print(f"ratio        {rate / bare:10.2f}  (goal {GOAL:.2f})")
    print(f"             {cpu_rate / bare:10.2f}  by the CPU time of the sink alone")


if __name__ == "__main__":
    main()
