"""The audit sink over real TLS: who is heard, what is answered, what is thrown away."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from metrics.core.watermark import GapReason
from metrics.recorder import NullRecorder
from sleeper.api.listening import listening
from sleeper.api.sink import AuditSink, Authenticator, SinkLimits, serve, tls_context
from sleeper.api.sink_connection import BodyBuffers, Patience
from sleeper.api.sink_http import HEAD_BYTES
from sleeper.errors import ConfigError
from sleeper.telemetry.clock import SystemClock
from tests.support.certificates import Authority, Pair
from tests.support.eventually import eventually

TOKEN = "a-token-of-some-length"
MIB = 1 << 20


@dataclass
class Receiver(NullRecorder):
    """Takes everything and remembers it."""

    bodies: list[tuple[str, bytes]] = field(default_factory=list)
    missed: list[tuple[str, GapReason]] = field(default_factory=list)
    fates: list[tuple[str, str]] = field(default_factory=list)
    turned_out: int = 0

    def receive(self, apiserver: str, body: bytes | bytearray | memoryview) -> int:
        self.bodies.append((apiserver, bytes(body)))
        return 1

    def miss(self, apiserver: str, reason: GapReason) -> None:
        self.missed.append((apiserver, reason))

    def audit_batch(self, apiserver: str, fate: str, events: int, seconds: float) -> None:
        self.fates.append((apiserver, fate))

    def stranger_turned_out(self, door: str) -> None:
        self.turned_out += 1


@dataclass(frozen=True, kw_only=True)
class Site:
    """Certificates and a token."""

    authority: Authority
    server: Pair
    client: Pair
    stranger: Pair
    token_file: Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    directory = tmp_path_factory.mktemp("pki")
    authority, other = Authority(directory), Authority(directory, "other-ca")
    token_file = directory / "token"
    token_file.write_text(TOKEN + "\n")
    return Site(
        authority=authority,
        server=authority.issue("server"),
        client=authority.issue("client"),
        stranger=other.issue("stranger"),
        token_file=token_file,
    )


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@asynccontextmanager
async def running(
    site: Site, receiver: Receiver, *, limits: SinkLimits | None = None
) -> AsyncIterator[int]:
    sink = AuditSink(
        receiver,
        authenticator=Authenticator(token_file=site.token_file),
        apiservers=frozenset({"main"}),
        clock=SystemClock(),
        recorder=receiver,
        limits=limits or SinkLimits(),
    )
    tls = tls_context(
        certificate=site.server.certificate,
        key=site.server.key,
        client_ca=site.authority.bundle,
    )
    with listening("127.0.0.1", 0, section="api_signal") as door:
        async with serve(sink, door, tls=tls) as port:
            yield port


def client_tls(site: Site, pair: Pair | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(site.authority.bundle))
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


async def post(
    port: int,
    site: Site,
    body: bytes,
    *,
    pair: Pair | None = None,
    token: str | None = None,
    name: str = "main",
) -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    connector = aiohttp.TCPConnector(ssl=client_tls(site, pair))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(
            f"https://127.0.0.1:{port}/audit/{name}", data=io.BytesIO(body), headers=headers
        ) as response,
    ):
        return response.status


async def test_a_client_certificate_of_our_ca_is_heard(site: Site, receiver: Receiver) -> None:
    async with running(site, receiver) as port:
        assert await post(port, site, b"batch", pair=site.client) == 200
    assert receiver.bodies == [("main", b"batch")]
    assert receiver.fates == [("main", "Taken")]


async def test_a_bearer_token_is_heard(site: Site, receiver: Receiver) -> None:
    async with running(site, receiver) as port:
        assert await post(port, site, b"batch", token=TOKEN) == 200
    assert receiver.bodies == [("main", b"batch")]


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", "ü"])
async def test_strangers_are_refused_and_not_read(
    site: Site, receiver: Receiver, token: str | None
) -> None:
    async with running(site, receiver) as port:
        assert await post(port, site, b"batch", token=token) == 401
    assert receiver.bodies == []
    assert receiver.missed == []
    assert receiver.fates == [("main", "Stranger")]


async def test_a_certificate_of_another_ca_is_refused(site: Site, receiver: Receiver) -> None:
    async with running(site, receiver) as port:
        with pytest.raises((aiohttp.ClientError, ssl.SSLError, OSError)):
            await post(port, site, b"batch", pair=site.stranger)
    assert receiver.bodies == []


async def test_a_token_that_changes_is_read_again(site: Site, receiver: Receiver) -> None:
    async with running(site, receiver) as port:
        assert await post(port, site, b"1", token=TOKEN) == 200
        site.token_file.write_text("another")
        os.utime(site.token_file, (1, 1))
        try:
            assert await post(port, site, b"2", token=TOKEN) == 401
            assert await post(port, site, b"3", token="another") == 200
            site.token_file.write_text("")
            os.utime(site.token_file, (2, 2))
            assert await post(port, site, b"4", token="") == 401
        finally:
            site.token_file.write_text(TOKEN)
            os.utime(site.token_file, (3, 3))


async def test_a_body_of_twelve_mebibytes_passes(site: Site, receiver: Receiver) -> None:
    body = os.urandom(12 * MIB)
    async with running(site, receiver) as port:
        assert await post(port, site, body, pair=site.client) == 200
    assert receiver.bodies == [("main", body)]


async def test_a_body_over_the_limit_is_answered_with_200_and_is_missing(
    site: Site, receiver: Receiver
) -> None:
    async with running(site, receiver, limits=SinkLimits(body_bytes=MIB)) as port:
        assert await post(port, site, bytes(2 * MIB), pair=site.client) == 200
    assert receiver.bodies == []
    assert receiver.missed == [("main", GapReason.SHED)]
    assert receiver.fates == [("main", "Shed")]


async def test_what_all_senders_together_may_hold_is_bounded(
    site: Site, receiver: Receiver
) -> None:
    limits = SinkLimits(body_bytes=4 * MIB, held_bytes=MIB)
    async with running(site, receiver, limits=limits) as port:
        assert await post(port, site, bytes(2 * MIB), pair=site.client) == 200
        assert receiver.missed == [("main", GapReason.SHED)]
        assert await post(port, site, bytes(MIB // 2), pair=site.client) == 200
    assert len(receiver.bodies) == 1


async def test_a_compressed_body_is_not_inflated(site: Site, receiver: Receiver) -> None:
    async with running(site, receiver) as port:
        connector = aiohttp.TCPConnector(ssl=client_tls(site, site.client))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(
                f"https://127.0.0.1:{port}/audit/main",
                data=b"not really gzip",
                headers={"Content-Encoding": "gzip"},
            ) as response,
        ):
            assert response.status == 200
    assert receiver.bodies == [("main", b"not really gzip")]


async def test_a_slow_client_is_dropped_and_others_are_served(
    site: Site, receiver: Receiver
) -> None:
    async with running(site, receiver, limits=SinkLimits(patience=Patience(body=0.2))) as port:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client_tls(site, site.client)
        )
        writer.write(b"POST /audit/main HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        await writer.drain()
        assert await post(port, site, b"batch", pair=site.client) == 200
        async with asyncio.timeout(5):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        writer.close()
        await eventually(lambda: ("main", "Slow") in receiver.fates)
    assert receiver.bodies == [("main", b"batch")]
    assert receiver.missed == []


async def test_a_client_that_hangs_up_halfway_costs_nothing(site: Site, receiver: Receiver) -> None:
    async with running(site, receiver) as port:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client_tls(site, site.client)
        )
        writer.write(b"POST /audit/main HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        await writer.drain()
        writer.transport.abort()
        assert await post(port, site, b"batch", pair=site.client) == 200
        await eventually(lambda: ("main", "BrokenOff") in receiver.fates)
    assert receiver.bodies == [("main", b"batch")]
    assert receiver.missed == []


async def test_names_that_are_not_configured_are_counted_together(
    site: Site, receiver: Receiver
) -> None:
    async with running(site, receiver) as port:
        assert await post(port, site, b"batch", pair=site.client, name="other") == 200
    assert receiver.bodies == [("other", b"batch")]
    assert receiver.fates == [("(unknown)", "Taken")]


async def test_other_paths_and_methods_are_not_there(site: Site, receiver: Receiver) -> None:
    async with running(site, receiver) as port:
        connector = aiohttp.TCPConnector(ssl=client_tls(site, site.client))
        async with aiohttp.ClientSession(connector=connector) as session:
            for method, path, status in [("GET", "/audit/main", 405), ("POST", "/", 404)]:
                url = f"https://127.0.0.1:{port}{path}"
                async with session.request(method, url) as response:
                    assert response.status == status


def test_files_that_cannot_be_used_are_named(site: Site, tmp_path: Path) -> None:
    nowhere = tmp_path / "missing.pem"
    with pytest.raises(ConfigError, match=r"tls_cert.*missing\.pem"):
        tls_context(certificate=nowhere, key=site.server.key, client_ca=None)
    with pytest.raises(ConfigError, match=r"client_ca.*missing\.pem"):
        tls_context(certificate=site.server.certificate, key=site.server.key, client_ca=nowhere)


HEAD = b"POST /audit/main HTTP/1.1\r\nHost: x\r\n"


async def say(port: int, site: Site, *pieces: bytes, pair: Pair | None = None) -> bytes:
    """What a sender hears until the sink closes, when it says ``pieces`` one after the other."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=client_tls(site, pair or site.client)
    )
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)  # so that pieces are records of their own
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def statuses(answer: bytes) -> list[int]:
    """Status codes in what was heard."""
    return [int(line.split()[1]) for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1")]


@pytest.mark.parametrize("pieces", [1, 7, 4096])
async def test_a_connection_is_kept_and_its_bodies_arrive_whole(
    site: Site, receiver: Receiver, pieces: int
) -> None:
    bodies = [os.urandom(3), os.urandom(40_000), b"", os.urandom(HEAD_BYTES)]
    said = b"".join(HEAD + b"Content-Length: %d\r\n\r\n" % len(one) + one for one in bodies)
    said += HEAD + b"Connection: close\r\nContent-Length: 1\r\n\r\nz"
    step = len(said) // pieces + 1
    async with running(site, receiver) as port:
        answer = await say(port, site, *(said[at : at + step] for at in range(0, len(said), step)))
    assert [body for _, body in receiver.bodies] == [*bodies, b"z"]
    assert statuses(answer) == [200] * 5


async def test_what_is_sent_behind_a_body_that_is_thrown_away_is_heard(
    site: Site, receiver: Receiver
) -> None:
    large = HEAD + b"Content-Length: %d\r\n\r\n" % MIB + bytes(MIB)
    last = HEAD + b"Connection: close\r\nContent-Length: 1\r\n\r\nz"
    async with running(site, receiver, limits=SinkLimits(body_bytes=MIB // 2)) as port:
        answer = await say(port, site, large + last)
    assert statuses(answer) == [200, 200]
    assert receiver.missed == [("main", GapReason.SHED)]
    assert receiver.bodies == [("main", b"z")]


async def test_a_body_in_chunks_arrives_whole(site: Site, receiver: Receiver) -> None:
    chunks = b"3\r\nabc\r\n", b"5\r\n", b"defgh\r\n0\r\n", b"\r\n"
    async with running(site, receiver) as port:
        answer = await say(port, site, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *chunks)
    assert receiver.bodies == [("main", b"abcdefgh")]
    assert statuses(answer) == [200]


async def test_chunks_over_the_limit_are_missing(site: Site, receiver: Receiver) -> None:
    chunk = b"8000\r\n" + bytes(0x8000) + b"\r\n"
    async with running(site, receiver, limits=SinkLimits(body_bytes=MIB)) as port:
        answer = await say(
            port, site, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 40, b"0\r\n\r\n"
        )
        assert statuses(answer) == [200]
        assert receiver.missed == [("main", GapReason.SHED)]
        assert await post(port, site, bytes(MIB), pair=site.client) == 200
    assert len(receiver.bodies) == 1


async def test_who_asks_first_is_told_to_go_on_only_if_known(
    site: Site, receiver: Receiver
) -> None:
    asks = HEAD + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    async with running(site, receiver) as port:
        assert statuses(await say(port, site, asks, b"hi")) == [100, 200]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client_tls(site, None)
        )
        writer.write(asks)
        async with asyncio.timeout(5):
            assert statuses(await reader.read()) == [401]
        writer.close()
    assert receiver.bodies == [("main", b"hi")]


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (HEAD + b"Content-Length: x\r\n\r\n", 400),
        (HEAD + b"Content-Length: -1\r\n\r\n", 400),
        (HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (HEAD + b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 400),
        (HEAD + b"X: " + bytes(HEAD_BYTES).replace(b"\0", b"x"), 431),
        (b"POST /audit/ HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"POST /audit/a/b HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    ],
)
async def test_what_is_not_a_request_of_ours_is_refused_and_nothing_is_taken(
    site: Site, receiver: Receiver, said: bytes, status: int
) -> None:
    limits = SinkLimits(patience=Patience(linger=0.1))
    async with running(site, receiver, limits=limits) as port:
        assert statuses(await say(port, site, said)) == [status]
        assert await post(port, site, b"batch", pair=site.client) == 200
    assert receiver.bodies == [("main", b"batch")]
    assert receiver.missed == []


@pytest.mark.parametrize("begun", [b"", b"POST /au", HEAD + b"Content-Length: 0\r\n\r\nPOST"])
async def test_a_head_that_does_not_come_ends_the_connection(
    site: Site, receiver: Receiver, begun: bytes
) -> None:
    limits = SinkLimits(patience=Patience(head=0.3))
    async with running(site, receiver, limits=limits) as port:
        await say(port, site, begun)
        await eventually(lambda: ("(unknown)", "Slow") in receiver.fates)


async def test_a_connection_that_nobody_uses_is_closed(site: Site, receiver: Receiver) -> None:
    limits = SinkLimits(patience=Patience(idle=0.2))
    async with running(site, receiver, limits=limits) as port:
        answer = await say(port, site, HEAD + b"Content-Length: 2\r\n\r\nhi")
    assert statuses(answer) == [200]
    assert receiver.fates == [("main", "Taken")]


async def test_the_request_under_way_is_finished_when_the_sink_stops(
    site: Site, receiver: Receiver
) -> None:
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        port = await stack.enter_async_context(running(site, receiver))
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client_tls(site, site.client)
        )
        writer.write(HEAD + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n12")
        await reader.readuntil(b"\r\n\r\n")
        tasks.create_task(stack.aclose())
        await eventually(lambda: is_refused(port))
        writer.write(b"34")
        async with asyncio.timeout(5):
            assert statuses(await reader.read()) == [200]
        writer.close()
    assert receiver.bodies == [("main", b"1234")]


def is_refused(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as knocking:
        return knocking.connect_ex(("127.0.0.1", port)) != 0


def test_memory_of_usual_bodies_is_used_again_and_little_of_it_is_kept() -> None:
    buffers = BodyBuffers()
    usual = buffers.take(400_000)
    buffers.give_back(usual)
    assert buffers.take(300_000) is usual
    for size in (100, *[400_000] * 20, 2 * MIB):
        buffers.give_back(bytearray(size))
    assert len(buffers.take(100)) == 100
    assert len(buffers.take(2 * MIB)) == 2 * MIB
    again = [buffers.take(MIB // 4) for _ in range(20)]
    assert sum(len(buffer) == 400_000 for buffer in again) == BodyBuffers.KEPT
