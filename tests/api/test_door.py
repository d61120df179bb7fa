"""Strangers take no more than their places, and known senders always come in."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from metrics.recorder import NullRecorder
from sleeper.api.app import serve_app
from sleeper.api.door import Door, Guest
from sleeper.api.listening import listening
from sleeper.api.sink import SinkLimits
from sleeper.api.sink_connection import Patience
from tests.api.test_sink import HEAD, TOKEN, Receiver, Site, client_tls, post, running, site
from tests.support.eventually import eventually

__all__ = ["site"]

PLACES = 4
FEW = SinkLimits(strangers=PLACES, patience=Patience(head=60.0))
"""Nobody is late in these tests: whoever has to go has to go for want of a place."""


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def knock(port: int, *, source: str = "127.0.0.1") -> socket.socket:
    """Somebody who connects and says nothing."""
    knocking = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))
    knocking.setblocking(False)
    return knocking


def is_inside(knocking: socket.socket) -> bool:
    """Whether the connection still stands."""
    try:
        return knocking.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


@contextmanager
def crowd(port: int, many: int, *, source: str = "127.0.0.1") -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(knock(port, source=source)) for _ in range(many)]


async def until_inside(knocking: list[socket.socket], many: int) -> None:
    await eventually(
        lambda: sum(map(is_inside, knocking)) == many, within=10, what=f"{many} are inside"
    )


@pytest.mark.fault(16)
async def test_strangers_have_only_their_places_and_a_sender_with_a_certificate_comes_in(
    site: Site,
) -> None:
    receiver = Receiver()
    before = descriptors()
    async with running(site, receiver, limits=FEW) as port:
        with crowd(port, 40) as strangers:
            await until_inside(strangers, PLACES)
            assert await post(port, site, b"batch", pair=site.client) == 200
            assert receiver.bodies == [("main", b"batch")]
            assert receiver.turned_out >= 40 - PLACES
    await eventually(lambda: descriptors() <= before, what="all are closed")


@pytest.mark.fault(16)
async def test_whoever_speaks_tls_and_shows_no_certificate_is_a_stranger_too(site: Site) -> None:
    async with running(site, Receiver(), limits=FEW) as port:
        writers = []
        for _ in range(3 * PLACES):
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_tls(site, None))
            writers.append(writer)

        def others_are_gone() -> bool:
            return sum(writer.transport.is_closing() for writer in writers) == 2 * PLACES

        await eventually(others_are_gone, within=10, what="the others are gone")
        assert await post(port, site, b"batch", pair=site.client) == 200
        for writer in writers:
            writer.transport.abort()


@pytest.mark.parametrize("by_token", [False, True], ids=["certificate", "token"])
async def test_a_known_sender_keeps_its_connection_whoever_comes(
    site: Site, *, by_token: bool
) -> None:
    receiver = Receiver()
    head = HEAD + b"Content-Length: 5\r\n"
    if by_token:
        head += f"Authorization: Bearer {TOKEN}\r\n".encode()
    async with running(site, receiver, limits=FEW) as port:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client_tls(site, None if by_token else site.client)
        )
        for _ in range(2):
            writer.write(head + b"\r\nbatch")
            async with asyncio.timeout(10):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            with crowd(port, 3 * PLACES) as strangers:
                await until_inside(strangers, PLACES)
        writer.transport.abort()
    assert len(receiver.bodies) == 2


@pytest.mark.fault(16)
async def test_with_few_descriptors_the_rest_goes_on_whoever_knocks(site: Site) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.api.narrow",
        str(site.server.certificate),
        str(site.server.key),
        str(site.authority.bundle),
        "128",
        cwd=Path(__file__).parents[2],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            port = int(await process.stdout.readline())
        with crowd(port, 200):
            for _ in range(3):
                async with asyncio.timeout(6):  # sooner than strangers are given up
                    assert await post(port, site, b"batch", pair=site.client) == 200
        assert process.returncode is None
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Held(asyncio.Protocol):
    """A connection that stays until somebody ends it."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.guest.arrived(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.guest.left()


@asynccontextmanager
async def opened(listener: socket.socket) -> AsyncIterator[tuple[Door, list[Held]]]:
    held: list[Held] = []

    def welcome(guest: Guest) -> Held:
        held.append(Held(guest))
        return held[-1]

    door = Door(listener, name="api", welcome=welcome, places=PLACES, recorder=NullRecorder())
    async with door.open():
        yield door, held
        for protocol in held:
            protocol.guest.turn_out()


async def test_the_address_from_which_most_strangers_come_makes_room_first() -> None:
    with listening("127.0.0.1", 0, section="api") as listener:
        port = listener.getsockname()[1]
        async with opened(listener) as (door, _):
            with knock(port, source="127.0.0.2") as lonely:
                await eventually(lambda: door.strangers == 1)
                with crowd(port, 10 * PLACES) as strangers:
                    await until_inside(strangers, PLACES - 1)
                    assert is_inside(lonely)


async def test_whoever_comes_from_where_known_senders_came_makes_room_last() -> None:
    with listening("127.0.0.1", 0, section="api") as listener:
        port = listener.getsockname()[1]
        async with opened(listener) as (door, held):
            with knock(port, source="127.0.0.2"):
                await eventually(lambda: len(held) == 1 and held[0].guest.has_arrived)
                held[0].guest.is_known()
                assert door.strangers == 0
            with crowd(port, PLACES - 1, source="127.0.0.2") as same:
                await eventually(lambda: door.strangers == PLACES - 1)
                with crowd(port, 10 * PLACES) as strangers:
                    await until_inside(strangers, 1)
                    assert all(map(is_inside, same))


async def test_a_connection_that_cannot_be_served_does_not_end_the_door() -> None:
    served: list[Held] = []

    def welcome(guest: Guest) -> Held:
        served.append(Held(guest))
        if len(served) == 1:
            raise RuntimeError("a fault of ours")
        return served[-1]

    with listening("127.0.0.1", 0, section="api") as listener:
        port = listener.getsockname()[1]
        door = Door(listener, name="api", welcome=welcome, places=PLACES, recorder=NullRecorder())
        async with door.open():
            with knock(port) as first, knock(port) as second:
                await until_inside([first], 0)
                await eventually(lambda: door.strangers == 1)
                assert is_inside(second)
            served[-1].guest.turn_out()


class Poor(socket.socket):
    """A listener for which there is no descriptor, until there is one."""

    tries = 0
    has_none = True

    def accept(self) -> tuple[socket.socket, object]:
        self.tries += 1
        if self.has_none:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


async def test_without_a_descriptor_the_door_lets_strangers_go_and_does_not_spin() -> None:
    with (
        listening("127.0.0.1", 0, section="api") as plain,
        Poor(plain.family, plain.type, plain.proto, os.dup(plain.fileno())) as listener,
    ):
        port = listener.getsockname()[1]
        listener.has_none = False
        async with opened(listener) as (door, _):
            with knock(port) as first:
                await eventually(lambda: door.strangers == 1)
                listener.has_none, listener.tries = True, 0
                with knock(port) as second:
                    await until_inside([first], 0)
                    turns = 0
                    while turns < 1000:  # as often as a loop that spins would have asked
                        await asyncio.sleep(0)
                        turns += 1
                    assert listener.tries <= 2
                    listener.has_none = False
                    await eventually(lambda: door.strangers == 1, within=10)
                    assert is_inside(second)


@pytest.mark.fault(16)
async def test_the_read_api_answers_whoever_holds_connections_to_it() -> None:
    async def live(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_get("/livez", live)
    with listening("127.0.0.1", 0, section="api") as listener:
        async with serve_app(app, listener, places=PLACES) as port:
            with crowd(port, 10 * PLACES) as strangers:
                await until_inside(strangers, PLACES)
                async with (
                    aiohttp.ClientSession() as session,
                    session.get(f"http://127.0.0.1:{port}/livez") as answer,
                ):
                    assert await answer.text() == "ok"


async def test_a_stranger_who_begins_no_tls_is_given_up_in_time(site: Site) -> None:
    limits = SinkLimits(patience=Patience(head=0.3))
    async with running(site, Receiver(), limits=limits) as port:
        with crowd(port, 3) as strangers:
            await until_inside(strangers, 0)
