"""The audit webhook's receiving end: ``POST /audit/<apiserver>`` over TLS.

API servers do not bound what they hold for a slow sink, and retry whatever is not answered 2xx,
so an authenticated sender gets 200 in milliseconds for any body: what is too large, or would make
us hold too much, is read and thrown away, and reported as missing. Strangers get 401 and nothing of
theirs is read. No work but reading the batch is done within the request.
"""

from __future__ import annotations

import asyncio
import hmac
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

import structlog
from aiohttp import web

from metrics.core.clock import Clock
from metrics.core.watermark import GapReason
from metrics.recorder import Recorder
from sleeper.errors import ConfigError

_log = structlog.get_logger(__name__)

READ_BUFFER_BYTES: Final = 1 << 20
"""Per connection: a usual batch (400 events, 0.4-1 MB) arrives without pausing the transport."""

LINGER_SECONDS: Final = 1.0
"""How long the rest of a body that we do not want is read before the connection is closed."""

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

    def receive(self, apiserver: str, body: bytes) -> int:
        """Take one body, whatever it holds; returns the number of events that were read."""
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
        body_seconds: a body must be there by then. The API server gives up after 30 s.
    """

    body_bytes: int = 16 << 20
    held_bytes: int = 128 << 20
    body_seconds: float = 30.0


class Authenticator:
    """Tells senders from strangers: by a client certificate that TLS verified, or by a token.

    Args:
        token_file: holds the bearer token; read again when it changes. None: no tokens.
    """

    def __init__(self, *, token_file: Path | None) -> None:
        self._file = token_file
        self._version: tuple[int, int] | None = None
        self._token = b""

    def knows(self, request: web.BaseRequest) -> bool:
        """Whether the request comes from an authenticated sender."""
        transport = request.transport
        if transport is not None and transport.get_extra_info("peercert"):
            return True
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
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
    """The HTTP application.

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

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application()
        app.router.add_post("/audit/{apiserver}", self.handle)
        return app

    async def handle(self, request: web.Request) -> web.Response:
        """One batch."""
        began = self._clock.monotonic()
        apiserver = request.match_info["apiserver"][:255]
        events = 0
        if not self._authenticator.knows(request):
            fate = BatchFate.STRANGER
        else:
            fate, events = await self._take(request, apiserver)
        seconds = self._clock.monotonic() - began
        label = apiserver if apiserver in self._apiservers else UNKNOWN
        self._recorder.audit_batch(label, fate, events, seconds)
        if fate in {BatchFate.TAKEN, BatchFate.SHED}:
            return web.Response()
        response = web.Response(status=401 if fate is BatchFate.STRANGER else 408)
        response.force_close()
        return response

    async def _take(self, request: web.Request, apiserver: str) -> tuple[BatchFate, int]:
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                body = await self._read(request)
        except TimeoutError:
            # It was not acknowledged, so it will be sent again: nothing is missing.
            if request.transport is not None:
                request.transport.abort()
            return BatchFate.SLOW, 0
        except (web.RequestPayloadError, ConnectionError):
            return BatchFate.BROKEN_OFF, 0
        if body is None:
            _log.warning("audit_batch_shed", apiserver=apiserver)
            self._receiver.miss(apiserver, GapReason.SHED)
            return BatchFate.SHED, 0
        return BatchFate.TAKEN, self._receiver.receive(apiserver, body)

    async def _read(self, request: web.Request) -> bytes | None:
        """The body; None if it is too large to keep, in which case it was read and dropped."""
        chunks: list[bytes] = []
        size = 0
        keep = (request.content_length or 0) <= self._limits.body_bytes
        try:
            while chunk := await request.content.readany():
                if not keep:
                    continue
                if (
                    size + len(chunk) > self._limits.body_bytes
                    or self._held + len(chunk) > self._limits.held_bytes
                ):
                    keep = False
                    chunks.clear()
                    self._held -= size
                    size = 0
                    continue
                chunks.append(chunk)
                size += len(chunk)
                self._held += len(chunk)
            return b"".join(chunks) if keep else None
        finally:
            self._held -= size


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
    sink: AuditSink, *, host: str, port: int, tls: ssl.SSLContext
) -> AsyncIterator[int]:
    """Listen until the context ends; then finish the requests under way.

    Yields:
        The port, for ``port=0``.

    Raises:
        ConfigError: the address cannot be had.
    """
    runner = web.AppRunner(
        sink.app(),
        access_log=None,
        handle_signals=False,
        read_bufsize=READ_BUFFER_BYTES,
        auto_decompress=False,  # API servers do not compress, and others could send a bomb
        lingering_time=LINGER_SECONDS,
        shutdown_timeout=5.0,
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, ssl_context=tls).start()
        except OSError as error:
            raise ConfigError(
                f"the audit sink cannot listen on {host}:{port}: {error.strerror or error}; "
                "set api_signal.listen and api_signal.port"
            ) from error
        address: tuple[str, int] = runner.addresses[0]
        yield address[1]
    finally:
        await runner.cleanup()
