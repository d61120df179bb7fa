"""A sink in a process that may have few descriptors: prints its port, serves until its input ends.

python -m tests.api.narrow CERTIFICATE KEY CLIENT_CA DESCRIPTORS
"""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

from metrics.core.watermark import GapReason
from metrics.recorder import NullRecorder
from sleeper.api.listening import listening
from sleeper.api.sink import AuditSink, Authenticator, SinkLimits, serve, tls_context
from sleeper.telemetry.clock import SystemClock


class Receiver:
    """Needs a descriptor for each batch, as a database or a client of Kubernetes does."""

    def receive(self, apiserver: str, body: bytearray | memoryview) -> int:
        Path("/dev/null").read_bytes()
        return 1

    def miss(self, apiserver: str, reason: GapReason) -> None:
        raise AssertionError((apiserver, reason))


async def main(certificate: str, key: str, client_ca: str, descriptors: str) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(descriptors), int(descriptors)))
    sink = AuditSink(
        Receiver(),
        authenticator=Authenticator(token_file=None),
        apiservers=frozenset({"main"}),
        clock=SystemClock(),
        recorder=NullRecorder(),
        limits=SinkLimits(),
    )
    tls = tls_context(certificate=Path(certificate), key=Path(key), client_ca=Path(client_ca))
    with listening("127.0.0.1", 0, section="api_signal") as door:
        async with serve(sink, door, tls=tls) as port:
            print(port, flush=True)
            reader = asyncio.StreamReader()
            await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
            )
            await reader.read()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
