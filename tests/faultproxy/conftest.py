"""A small upstream behind TLS, and a fault proxy in front of it."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.faultproxy import FaultProxy


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate for 127.0.0.1, which is its own CA bundle."""

    cert: Path
    key: Path


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    directory = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "upstream")])
    now = datetime.now(tz=UTC)  # noqa: TID251 a certificate must be valid now
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = Certificate(directory / "tls.crt", directory / "tls.key")
    paths.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


@dataclass(slots=True)
class Upstream:
    """A server that remembers what took effect."""

    url: str = ""
    effects: list[tuple[str, str, bytes]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    callers: list[object] = field(default_factory=list)
    watchers: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, number: int) -> None:
        """Wait until so many requests took effect."""
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(lambda: len(self.effects) >= number)

    async def until_watchers(self, number: int) -> None:
        """Wait until so many watches are open."""
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(lambda: self.watchers == number)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.headers.append(dict(request.headers))
        assert request.transport is not None
        self.callers.append(request.transport.get_extra_info("peercert"))
        async with self.changed:
            self.effects.append((request.method, request.raw_path, body))
            self.changed.notify_all()
        if "watch" in request.query:
            return await self._watch(request)
        return web.json_response({"number": len(self.effects)}, status=201 if body else 200)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await self._count(+1)
        try:
            await response.write(b'{"type":"ADDED"}\n')
            await asyncio.Event().wait()
        finally:
            await self._count(-1)
        return response

    async def _count(self, change: int) -> None:
        async with self.changed:
            self.watchers += change
            self.changed.notify_all()


@pytest.fixture
async def upstream(certificate: Certificate) -> AsyncIterator[Upstream]:
    upstream = Upstream()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", upstream.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate.cert, certificate.key)
    tls.load_verify_locations(certificate.cert)
    tls.verify_mode = ssl.CERT_OPTIONAL
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    upstream.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    yield upstream
    await runner.cleanup()


@pytest.fixture
async def proxy(upstream: Upstream, certificate: Certificate) -> AsyncIterator[FaultProxy]:
    async with FaultProxy.started(
        upstream=upstream.url,
        upstream_ca=certificate.cert,
        cert=certificate.cert,
        key=certificate.key,
    ) as proxy:
        yield proxy


@pytest.fixture
async def caller(certificate: Certificate) -> AsyncIterator[ClientSession]:
    """A client that trusts the proxy's certificate."""
    tls = ssl.create_default_context(cafile=str(certificate.cert))
    async with ClientSession(connector=TCPConnector(ssl=tls)) as session:
        yield session
