"""Who comes in: known senders always, strangers as many at a time as there are places for them.

Whoever connects is a stranger until the service says that it knows them. Nobody can be told apart
before they have spoken, so a stranger is never refused at the door: where all places are taken,
the newcomer gets that of another one. It is one from the address with the most strangers, at last
one from where known senders came before; there the one that has been a stranger for longest. So
whoever fills the places turns out themselves, and a sender that has come to say something, which
takes milliseconds, finds a place and leaves it.

asyncio's own servers accept without end: each connection holds a descriptor and a TLS state from
its first moment, before any of our code hears of it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog

from metrics.recorder import Recorder

_log = structlog.get_logger(__name__)

_ACCEPTED_AT_ONCE: Final = 16
"""So many, and then the others of the loop have a turn."""

_PAUSE_SECONDS: Final = 0.25
"""Without a descriptor, or memory, for one more connection: until the next try."""

_TOLD_EVERY_SECONDS: Final = 60.0

_ADDRESSES_KNOWN: Final = 64

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Guest:
    """One connection, from the moment it is accepted. Its protocol says what becomes of it."""

    def __init__(self, door: Door, address: str, accepted: socket.socket) -> None:
        self._door = door
        self.address = address
        self._accepted = accepted
        self._transport: asyncio.Transport | None = None

    @property
    def has_arrived(self) -> bool:
        """Whether the connection is made, so that its protocol can end it."""
        return self._transport is not None

    def arrived(self, transport: asyncio.Transport) -> None:
        """The connection is made."""
        self._transport = transport

    def is_known(self) -> None:
        """It is one of those that we are there for, and no stranger any more."""
        self._door.knows(self)

    def left(self) -> None:
        """The connection is over."""
        self._door.forget(self)

    def turn_out(self) -> None:
        """End the connection, however far it has come."""
        if self._transport is not None:
            self._transport.abort()
        else:
            # TLS then meets the end of the stream. To take the socket from under it would leave
            # its number, soon that of another one, with the loop.
            with suppress(OSError):
                self._accepted.shutdown(socket.SHUT_RDWR)


class Door:
    """Accepts the connections of one listening socket; see the module.

    Args:
        name: of the door, for metrics and log.
        welcome: makes the protocol of a connection.
        places: for strangers.
        tls: what the connections are wrapped in; None: nothing.
        handshake_seconds: until TLS is established.
        goodbye_seconds: for the end of TLS.
        recorder: told of each stranger who was turned out.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        name: str,
        welcome: Callable[[Guest], asyncio.BaseProtocol],
        places: int,
        recorder: Recorder,
        tls: ssl.SSLContext | None = None,
        handshake_seconds: float | None = None,
        goodbye_seconds: float | None = None,
    ) -> None:
        self._listener = listener
        self._name = name
        self._welcome = welcome
        self._places = places
        self._recorder = recorder
        self._tls = tls
        self._handshake_seconds = handshake_seconds
        self._goodbye_seconds = goodbye_seconds
        self._loop = asyncio.get_running_loop()
        self._tasks: asyncio.TaskGroup | None = None
        # address → its strangers, the first to come first
        self._strangers: OrderedDict[str, OrderedDict[Guest, None]] = OrderedDict()
        self._number = 0
        self._trusted: OrderedDict[str, None] = OrderedDict()
        self._pause: asyncio.TimerHandle | None = None
        self._turned_out = 0
        self._told_at: float | None = None

    @property
    def strangers(self) -> int:
        """How many are inside whom nobody knows."""
        return self._number

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Accept inside the context; at its end whoever is still in TLS's handshake is left."""
        self._listener.setblocking(False)
        async with asyncio.TaskGroup() as self._tasks:
            self._loop.add_reader(self._listener, self._accept)
            try:
                yield
            finally:
                self.close()

    def close(self) -> None:
        """Accept nobody any more."""
        if self._listener.fileno() < 0:
            return
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for same in self._strangers.values():
            for guest in same:
                if not guest.has_arrived:
                    guest.turn_out()

    # -- guests ---------------------------------------------------------------------------------

    def knows(self, guest: Guest) -> None:
        """A guest is known now."""
        if self._remove(guest):
            self._trusted[guest.address] = None
            self._trusted.move_to_end(guest.address)
            if len(self._trusted) > _ADDRESSES_KNOWN:
                self._trusted.popitem(last=False)

    def forget(self, guest: Guest) -> None:
        """A guest has left."""
        self._remove(guest)

    def _remove(self, guest: Guest) -> bool:
        same = self._strangers.get(guest.address, OrderedDict())
        if guest not in same:
            return False
        del same[guest]
        self._number -= 1
        if not same:
            del self._strangers[guest.address]
        return True

    def _make_room(self, places: int) -> None:
        while self._number > places:
            crowd = max(
                self._strangers,
                key=lambda address: (address not in self._trusted, len(self._strangers[address])),
            )
            guest = next(iter(self._strangers[crowd]))
            self._remove(guest)
            guest.turn_out()
            self._tell_of_one()

    def _tell_of_one(self) -> None:
        self._recorder.stranger_turned_out(self._name)
        self._turned_out += 1
        now = self._loop.time()
        if self._told_at is None or now - self._told_at >= _TOLD_EVERY_SECONDS:
            _log.warning("strangers_turned_out", door=self._name, number=self._turned_out)
            self._told_at, self._turned_out = now, 0

    # -- accepting ------------------------------------------------------------------------------

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                accepted, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue  # gone before it was let in
            except OSError as error:
                self._take_a_breath(error)
                return
            self._receive(accepted, Guest(self, _without_port(address), accepted))

    def _receive(self, accepted: socket.socket, guest: Guest) -> None:
        assert self._tasks is not None
        accepted.setblocking(False)
        self._strangers.setdefault(guest.address, OrderedDict())[guest] = None
        self._number += 1
        self._tasks.create_task(self._connect(accepted, guest))
        self._make_room(self._places)

    async def _connect(self, accepted: socket.socket, guest: Guest) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._welcome(guest),
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_seconds if self._tls else None,
                ssl_shutdown_timeout=self._goodbye_seconds if self._tls else None,
            )
        except OSError:  # no TLS, or not in time
            self.forget(guest)
        except Exception:  # noqa: BLE001 told below
            # One connection that we cannot serve must not end the door, and the daemon with it.
            _log.exception("not_connected", door=self._name)
            self.forget(guest)
            accepted.close()

    def _take_a_breath(self, error: OSError) -> None:
        """No connection can be had now: let the strangers go, and try again in a moment.

        Whoever took what there was, the rest of the process goes on; so the listener must not be
        asked again at once, for it stays readable.
        """
        if error.errno not in _EXHAUSTED:
            _log.warning("not_accepted", door=self._name, error=str(error))
        else:
            _log.warning("out_of_descriptors", door=self._name, error=str(error))
            self._make_room(0)
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(
            _PAUSE_SECONDS, self._loop.add_reader, self._listener, self._accept
        )


def _without_port(address: object) -> str:
    """The address of a peer; peers of other than internet sockets have none and count together."""
    return str(address[0]) if isinstance(address, tuple) and address else ""
