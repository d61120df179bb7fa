"""The audit webhook's receiving end: ``POST /audit/<apiserver>`` over TLS.

API servers do not bound what they hold for a slow sink, and retry whatever is not answered 2xx,
so an authenticated sender gets 200 in milliseconds for any body: what is too large, or would make
us hold too much, is read and thrown away, and reported as missing. Strangers get 401 and nothing of
theirs is read. No work but reading the batch is done within the request.
"""

from __future__ import annotations

import asyncio
import hmac
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote

import structlog

from metrics.core.clock import Clock
from metrics.core.watermark import GapReason
from metrics.recorder import Recorder
from sleeper.api.door import Door
from sleeper.api.sink_connection import BodyBuffers, Connection, Patience
from sleeper.api.sink_http import Message
from sleeper.errors import ConfigError

_log = structlog.get_logger(__name__)

PATH: Final = "/audit/"
"""Before the API server's name."""

SHUTDOWN_SECONDS: Final = 5.0
"""How long requests that are under way may take when the daemon stops."""

UNKNOWN: Final = "(unknown)"
"""Metric label of API servers that are not configured: their number is not ours to bound."""


class BatchFate(StrEnum):
    """What became of a request; metric label."""

    TAKEN = "Taken"
    SHED = "Shed"
    STRANGER = "Stranger"
    SLOW = "Slow"
    BROKEN_OFF = "BrokenOff"


class BatchReceiver(Protocol):
    """Where bodies go. Both calls return at once."""

    def receive(self, apiserver: str, body: bytearray | memoryview) -> int:
        """Take one body, whatever it holds; it is valid during the call.

        Returns:
            Number of events that were read.
        """
        ...

    def miss(self, apiserver: str, reason: GapReason) -> None:
        """A body had to be thrown away unread."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkLimits:
    """Bounds of what the sink does for one sender and for all.

    Attributes:
        body_bytes: largest body that is read. The API server's own bound with truncation is 10 MiB.
        held_bytes: most bytes of unread bodies in memory at a time.
        strangers: connections at a time whose sender has neither shown a certificate nor named
            the token; see :mod:`sleeper.api.door`.
        patience: how long they may take.
    """

    body_bytes: int = 16 << 20
    held_bytes: int = 128 << 20
    strangers: int = 64
    patience: Patience = field(default_factory=Patience)


class Authenticator:
    """Tells senders who show no client certificate from strangers: by a token.

    Args:
        token_file: holds the bearer token; read again when it changes. None: no tokens.
    """

    def __init__(self, *, token_file: Path | None) -> None:
        self._file = token_file
        self._version: tuple[int, int] | None = None
        self._token = b""

    def knows(self, authorization: str) -> bool:
        """Whether the value of an ``Authorization`` header is that of a sender."""
        scheme, _, token = authorization.partition(" ")
        expected = self._expected()
        return (
            bool(expected)
            and scheme.lower() == "bearer"
            and hmac.compare_digest(token.strip().encode(), expected)
        )

    def _expected(self) -> bytes:
        if self._file is None:
            return b""
        try:
            facts = self._file.stat()
            version = (facts.st_mtime_ns, facts.st_ino)
            if version != self._version:
                self._token = self._file.read_bytes().strip()
                self._version = version
        except OSError as error:
            _log.warning("sink_token_unreadable", file=str(self._file), error=str(error))
            return b""
        return self._token


class AuditSink:
    """What happens to requests; a :class:`~sleeper.api.sink_connection.Service`.

    Args:
        receiver: where bodies go.
        apiservers: names that are configured; others are heard too, and counted together.
    """

    def __init__(
        self,
        receiver: BatchReceiver,
        *,
        authenticator: Authenticator,
        apiservers: frozenset[str],
        clock: Clock,
        recorder: Recorder,
        limits: SinkLimits,
    ) -> None:
        self._receiver = receiver
        self._authenticator = authenticator
        self._apiservers = apiservers
        self._clock = clock
        self._recorder = recorder
        self._limits = limits
        self._held = 0

    @property
    def patience(self) -> Patience:
        """How long senders may take."""
        return self._limits.patience

    @property
    def strangers(self) -> int:
        """How many connections of unknown senders there may be at a time."""
        return self._limits.strangers

    @property
    def recorder(self) -> Recorder:
        """Who counts."""
        return self._recorder

    def open(self, request: Message, *, certified: bool) -> _Batch | HTTPStatus:
        """A request begins; a status refuses it."""
        apiserver = unquote(request.path.removeprefix(PATH))[:255]
        if not request.path.startswith(PATH) or not apiserver or "/" in apiserver:
            return HTTPStatus.NOT_FOUND
        if request.method != "POST":
            return HTTPStatus.METHOD_NOT_ALLOWED
        if not certified and not self._authenticator.knows(request.authorization):
            self._count(apiserver, BatchFate.STRANGER, 0, 0.0)
            return HTTPStatus.UNAUTHORIZED
        return _Batch(self, apiserver, self._clock.monotonic())

    def late_head(self) -> None:
        """Somebody began a request and did not finish its head in time."""
        self._count(UNKNOWN, BatchFate.SLOW, 0, self.patience.head)

    def reserve(self, size: int, *, of: int) -> bool:
        """Room for ``size`` more bytes of a body that comes to ``of`` with them."""
        if of > self._limits.body_bytes or self._held + size > self._limits.held_bytes:
            return False
        self._held += size
        return True

    def end(
        self, batch: _Batch, fate: BatchFate, body: bytearray | memoryview | None = None
    ) -> None:
        """A batch is over: give its room back, hand over what came of it, count it."""
        self._held -= batch.reserved
        events = 0
        if body is not None:
            events = self._receiver.receive(batch.apiserver, body)
        elif fate is BatchFate.SHED:
            _log.warning("audit_batch_shed", apiserver=batch.apiserver)
            self._receiver.miss(batch.apiserver, GapReason.SHED)
        seconds = self._clock.monotonic() - batch.began
        self._count(batch.apiserver, fate, events, seconds)

    def _count(self, apiserver: str, fate: BatchFate, events: int, seconds: float) -> None:
        label = apiserver if apiserver in self._apiservers else UNKNOWN
        self._recorder.audit_batch(label, fate, events, seconds)


class _Batch:
    """One body under way; a :class:`~sleeper.api.sink_connection.Delivery`."""

    def __init__(self, sink: AuditSink, apiserver: str, began: float) -> None:
        self._sink = sink
        self.apiserver = apiserver
        self.began = began
        self.reserved = 0

    def reserve(self, size: int) -> bool:
        """Ask for room for ``size`` more bytes."""
        granted = self._sink.reserve(size, of=self.reserved + size)
        if granted:
            self.reserved += size
        return granted

    def arrived(self, body: bytearray | memoryview | None) -> None:
        """All of it was read; None: and thrown away."""
        self._sink.end(self, BatchFate.SHED if body is None else BatchFate.TAKEN, body)

    def late(self) -> None:
        """It was not there in time, was not acknowledged, and will be sent again."""
        self._sink.end(self, BatchFate.SLOW)

    def broken_off(self) -> None:
        """The connection ended before it; likewise."""
        self._sink.end(self, BatchFate.BROKEN_OFF)


def tls_context(*, certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """TLS for the sink.

    Args:
        certificate: PEM chain of the server.
        key: its key.
        client_ca: CA of senders; whoever shows a certificate of it is authenticated, so it must
            sign nothing else. None: no client certificates.

    Raises:
        ConfigError: a file cannot be used; the sentence names it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise ConfigError(
            f"api_signal.tls_cert {str(certificate)!r} and api_signal.tls_key {str(key)!r} cannot "
            f"be used: {error}; expected a PEM chain and its key"
        ) from error
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except OSError as error:
            raise ConfigError(
                f"api_signal.client_ca {str(client_ca)!r} cannot be used: {error}; "
                "expected a PEM bundle"
            ) from error
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


@asynccontextmanager
async def serve(
    sink: AuditSink, listener: socket.socket, *, tls: ssl.SSLContext
) -> AsyncIterator[int]:
    """Serve ``listener`` until the context ends, and finish the requests under way.

    Yields:
        The port.
    """
    connections: set[Connection] = set()
    buffers = BodyBuffers()
    port = int(listener.getsockname()[1])
    door = Door(
        listener,
        name="api_signal",
        welcome=lambda guest: Connection(sink, connections, buffers, guest),
        places=sink.strangers,
        recorder=sink.recorder,
        tls=tls,
        handshake_seconds=sink.patience.head,
        goodbye_seconds=sink.patience.linger,
    )
    async with door.open():
        try:
            yield port
        finally:
            door.close()
            await _finish(connections)


async def _finish(connections: set[Connection]) -> None:
    """Let the requests under way end, for a while; then close every connection."""
    ending = tuple(connections)
    for connection in ending:
        connection.end()
    with suppress(TimeoutError):
        async with asyncio.timeout(SHUTDOWN_SECONDS):
            for connection in ending:
                await connection.closed.wait()
    for connection in ending:
        connection.abort()
        await connection.closed.wait()
