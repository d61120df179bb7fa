"""One sender's connection: HTTP/1.1 in which only the bodies are large.

A body whose length is told, which is how API servers send, is decrypted straight into the memory
in which it is decoded: to hand it from layer to layer would cost as much as to decode it. What is
not answered with 200 was not taken, and ends the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Final, Protocol, cast

from sleeper.api.door import Guest
from sleeper.api.sink_http import END_OF_HEAD, HEAD_BYTES, BadRequestError, Message

_SCRATCH: Final = memoryview(bytearray(64 << 10))
"""Where bytes go that are handed on, or thrown away, before any others arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a sender may take, in seconds.

    Attributes:
        head: for the head of a request, from its first byte or that of the connection.
        body: for its body, from the end of the head. The API server gives up after 30 s.
        idle: between two requests: longer than an API server keeps an unused connection (90 s),
            so that none is closed under a batch that is on its way.
        linger: how long the rest of a refused request is read, so that the answer is seen.
    """

    head: float = 10.0
    body: float = 30.0
    idle: float = 120.0
    linger: float = 1.0


class Delivery(Protocol):
    """One body under way, from an authenticated sender."""

    def reserve(self, size: int) -> bool:
        """Ask for room for ``size`` more bytes."""
        ...

    def arrived(self, body: bytearray | memoryview | None) -> None:
        """All of it was read, and is valid during the call; None: it was thrown away."""
        ...

    def late(self) -> None:
        """It was not there in time."""
        ...

    def broken_off(self) -> None:
        """The connection ended before it."""
        ...


class Service(Protocol):
    """What the connections serve."""

    @property
    def patience(self) -> Patience:
        """How long senders may take."""
        ...

    def open(self, request: Message, *, certified: bool) -> Delivery | HTTPStatus:
        """A request begins; a status refuses it.

        Args:
            request: its head.
            certified: the sender showed a client certificate, and TLS verified it.
        """
        ...

    def late_head(self) -> None:
        """Somebody began a request and did not finish its head in time."""
        ...


class BodyBuffers:
    """Memory of usual bodies, used again: fresh pages would cost a third of the receiving.

    What is in use is as large as its body asked for, but for the few that are kept.
    """

    SMALLEST: Final = 64 << 10
    LARGEST: Final = 1 << 20  # a usual batch fits: 400 events, 0.4-1 MB
    KEPT: Final = 8

    def __init__(self) -> None:
        self._free: list[bytearray] = []

    def take(self, size: int) -> bytearray:
        """At least ``size`` bytes, of any contents."""
        if size >= self.SMALLEST:
            for place, buffer in enumerate(self._free):
                if len(buffer) >= size:
                    return self._free.pop(place)
        return bytearray(size)

    def give_back(self, buffer: bytearray) -> None:
        """Nobody reads it any more."""
        if self.SMALLEST <= len(buffer) <= self.LARGEST:
            self._free.append(buffer)
            self._free.sort(key=len)
            del self._free[: -self.KEPT]  # the largest serve any body


class _Reading(Enum):
    """What the next bytes are."""

    HEAD = auto()
    BODY = auto()  # of known length, wanted
    SHED = auto()  # of known length, not wanted; it is answered all the same
    CHUNKS = auto()  # of unknown length, through the parser
    REST = auto()  # of a request that is refused already


class Connection(asyncio.BufferedProtocol):
    """Reads requests, one after the other, and answers them.

    Args:
        connections: all that are open; it adds and removes itself.
        buffers: memory for bodies.
        guest: what the door knows of it; told as soon as the sender is known.

    Attributes:
        closed: set once nothing more comes of it.
    """

    def __init__(
        self,
        service: Service,
        connections: set[Connection],
        buffers: BodyBuffers,
        guest: Guest,
    ) -> None:
        self._service = service
        self._patience = service.patience
        self._connections = connections
        self._buffers = buffers
        self._guest = guest
        self.closed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._certified = False
        self._timer: asyncio.TimerHandle | None = None
        self._is_last = False
        self._head = memoryview(bytearray(HEAD_BYTES))
        self._filled = 0  # bytes of the head buffer
        self._reading = _Reading.HEAD
        self._message = Message()
        self._delivery: Delivery | None = None
        self._buffer: bytearray | None = None  # of a body of known length, at its beginning
        self._chunks: bytearray | None = None  # of a body of unknown length; None: not wanted
        self._length = 0  # of a body of known length
        self._missing = 0  # bytes of it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is established."""
        self._transport = cast("asyncio.Transport", transport)
        self._certified = bool(transport.get_extra_info("peercert"))
        self._guest.arrived(self._transport)
        if self._certified:
            self._guest.is_known()
        self._connections.add(self)
        self._within(self._patience.head, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, whoever ended it."""
        if self._timer is not None:
            self._timer.cancel()
        if self._delivery is not None:
            self._delivery.broken_off()
        self._delivery = self._transport = None
        self._forget_body()
        self._connections.discard(self)
        self._guest.left()
        self.closed.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        if self._reading is _Reading.HEAD:
            return self._head[self._filled :]
        if self._reading is _Reading.BODY and self._buffer is not None:
            return memoryview(self._buffer)[self._length - self._missing : self._length]
        if self._reading is _Reading.SHED:
            return _SCRATCH[: self._missing]
        return _SCRATCH

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes have gone there."""
        match self._reading:
            case _Reading.BODY | _Reading.SHED:
                self._count_down(nbytes)
            case _Reading.CHUNKS:
                self._read_chunks(bytes(_SCRATCH[:nbytes]))
            case _Reading.HEAD:
                if self._filled == 0:
                    self._within(self._patience.head, self._head_is_late)
                self._filled += nbytes
                self._read_heads()
            case _Reading.REST:
                pass  # only so that the answer is not lost in a reset

    def end(self) -> None:
        """Finish the request under way, if one is, and close."""
        self._is_last = True
        if self._reading is _Reading.HEAD:
            self._close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _read_heads(self) -> None:
        """Begin the requests whose heads are there: more than one, if they are sent ahead."""
        while self._reading is _Reading.HEAD:
            arrived = bytes(self._head[: self._filled])
            end = arrived.find(END_OF_HEAD) + len(END_OF_HEAD)
            if end < len(END_OF_HEAD):
                if self._filled == HEAD_BYTES:
                    self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
                return
            self._filled = 0
            try:
                self._message.feed_head(arrived[:end])
            except BadRequestError:
                self._refuse(HTTPStatus.BAD_REQUEST)
                return
            self._begin(arrived[end:])

    def _begin(self, begun: bytes) -> None:
        """A head is read; ``begun`` is what came behind it."""
        message = self._message
        answer = self._service.open(message, certified=self._certified)
        if isinstance(answer, HTTPStatus):
            self._refuse(answer)
            return
        self._guest.is_known()
        self._delivery = answer
        self._is_last = self._is_last or not message.keeps_alive
        self._within(self._patience.body, self._body_is_late)
        if message.expectation == "100-continue":
            self._write(HTTPStatus.CONTINUE)
        if message.length is None:
            self._reading = _Reading.CHUNKS
            self._is_last = True  # the parser may have read on into what follows
            self._chunks = bytearray()
            self._read_chunks(begun)
            return
        mine, rest = begun[: message.length], begun[message.length :]
        self._length = self._missing = message.length
        if answer.reserve(message.length):
            self._reading = _Reading.BODY
            self._buffer = self._buffers.take(message.length)
            self._buffer[: len(mine)] = mine
        else:
            self._reading = _Reading.SHED
        self._count_down(len(mine))
        if rest:  # there is one only behind a whole body
            self._head[: len(rest)] = rest
            self._filled = len(rest)
            self._within(self._patience.head, self._head_is_late)

    def _count_down(self, nbytes: int) -> None:
        self._missing -= nbytes
        if self._missing == 0:
            self._finish()

    def _read_chunks(self, data: bytes) -> None:
        try:
            self._message.feed(data)
        except BadRequestError:
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        for chunk in self._message.take_chunks():
            if self._chunks is None or self._delivery is None:
                break
            if self._delivery.reserve(len(chunk)):
                self._chunks += chunk
            else:
                self._chunks = None
        if self._message.is_whole:
            self._finish()

    def _finish(self) -> None:
        """The body is there: hand it over and answer."""
        delivery, self._delivery = self._delivery, None
        body: bytearray | memoryview | None = self._chunks
        if self._buffer is not None:
            body = memoryview(self._buffer)[: self._length]
        if delivery is not None:
            delivery.arrived(body)
        self._forget_body()
        self._write(HTTPStatus.OK)
        if self._is_last:
            self._reading = _Reading.REST
            self._close()
        else:
            self._reading = _Reading.HEAD
            self._message = Message()
            self._within(self._patience.idle, self._close)

    def _forget_body(self) -> None:
        if self._buffer is not None:
            self._buffers.give_back(self._buffer)
        self._buffer = self._chunks = None

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer, and read on for a moment: a reset would take the answer with it."""
        if self._delivery is not None:
            self._delivery.broken_off()
        self._delivery = None
        self._forget_body()
        self._is_last = True
        self._reading = _Reading.REST
        self._write(status)
        self._within(self._patience.linger, self._close)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _write(self, status: HTTPStatus) -> None:
        if self._transport is None:
            return
        lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
        if status is not HTTPStatus.CONTINUE:
            lines.append("Content-Length: 0")
            if self._is_last:
                lines.append("Connection: close")
        self._transport.write("\r\n".join([*lines, "", ""]).encode("ascii"))

    def _within(self, seconds: float, otherwise: Callable[[], None]) -> None:
        """Set the one timer that runs."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, otherwise)

    def _head_is_late(self) -> None:
        self._service.late_head()
        self.abort()

    def _body_is_late(self) -> None:
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            delivery.late()
        self.abort()
