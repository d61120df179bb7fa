"""A reflector: one list, then one watch for ever, and a store that follows.

What can go wrong on the way, and what is done: a resource version that is no longer kept (410 on
the list's continuation, on the watch, or as an ERROR event) leads to a new list; any other error,
a line that is not JSON (a proxy's page), a stream that falls silent, or a server that hangs up at
once leads to a new watch from the last version, after a growing pause. Nothing is skipped: what
cannot be decoded keeps the reflector from being in sync, because an object that we cannot read
could be the reason not to sleep.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime
from http import HTTPStatus
from typing import Final, Generic, Protocol, TypeVar

import msgspec
import structlog

from metrics.core.clock import Clock
from metrics.recorder import Recorder
from sleeper.core.objects import KubeObject
from sleeper.kube.backoff import Backoff
from sleeper.kube.client import KubeClient
from sleeper.kube.errors import Gone, KubeError, NotFound, Status, Unavailable, Undecodable
from sleeper.telemetry.clock import jittered

WATCH_SECONDS: Final = 120.0
"""Asked of the server as the length of one watch. Its orderly end proves that the stream was
intact, so this is also how long a quiet kind may go without proof of life."""

RELIST_SECONDS: Final = 6 * 3600.0
"""A list is forced this often, in case the watch ever missed something."""

_SHORTEST_WATCH_SECONDS: Final = 1.0
"""Shorter than that the API server does not know."""

_QUICK_END_SECONDS: Final = 1.0
"""A watch that ends sooner is answered with a pause, or we would spin."""

ObjectT = TypeVar("ObjectT", bound=KubeObject)
ObjectT_contra = TypeVar("ObjectT_contra", bound=KubeObject, contravariant=True)

_log = structlog.get_logger(__name__)


class Store(Protocol[ObjectT_contra]):
    """What follows the cluster. Called in the loop's thread; must be quick and must not raise."""

    def replace(self, objects: Sequence[ObjectT_contra], at: datetime) -> None:
        """These are all objects there are."""
        ...

    def put(self, item: ObjectT_contra, at: datetime) -> None:
        """This one was added or changed."""
        ...

    def discard(self, item: ObjectT_contra, at: datetime) -> None:
        """This one is gone; ``item`` is its last state."""
        ...


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""


class _ObjectList(msgspec.Struct, Generic[ObjectT], frozen=True):
    metadata: _ListMeta
    items: list[ObjectT] | None = None


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


_EVENT: Final = msgspec.json.Decoder(_Event)
_ANY_OBJECT: Final = msgspec.json.Decoder(KubeObject)
_STATUS: Final = msgspec.json.Decoder(Status)


class Reflector(Generic[ObjectT]):
    """Keeps one :class:`Store` equal to one resource of the cluster.

    Args:
        client: the API server.
        resource: name for logs, metrics and reports, such as ``pods``.
        path: its list, over all namespaces or in one.
        kind: what the objects are decoded as.
        store: what follows.
        clock: wall time for observations, monotonic time for silence.
        recorder: counts lists, watches and errors.
        watch_seconds: length of one watch.
        relist_seconds: time between forced lists.
        page_size: objects per page of a list.

    Attributes:
        known: set once it was listed, or is not served at all: then there are no objects of it.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        resource: str,
        path: str,
        kind: type[ObjectT],
        store: Store[ObjectT],
        clock: Clock,
        recorder: Recorder,
        watch_seconds: float = WATCH_SECONDS,
        relist_seconds: float = RELIST_SECONDS,
        page_size: int = 500,
    ) -> None:
        self.resource = resource
        self._client = client
        self._path = path
        self._list_decoder = msgspec.json.Decoder(_ObjectList[kind])  # type: ignore[valid-type]
        self._decoder = msgspec.json.Decoder(kind)
        self._store = store
        self._clock = clock
        self._recorder = recorder
        self._watch_seconds = watch_seconds
        self._relist_seconds = relist_seconds
        self._page_size = page_size
        self._backoff = Backoff(initial_seconds=0.5, maximum_seconds=8.0)
        self._version: str | None = None
        self._relist_at = 0.0
        self._alive_at: float | None = None
        self._last_seen: datetime | None = None
        self._lost_sight: tuple[datetime, datetime] | None = None
        self._trouble = ""
        self._ever_listed = False
        self._open_watch: asyncio.Timeout | None = None
        self._caught_up: asyncio.Event | None = None
        self.known = asyncio.Event()

    @property
    def last_seen(self) -> datetime | None:
        """Last proof of life: up to here the store surely has followed. None: never listed."""
        return self._last_seen

    @property
    def lost_sight(self) -> tuple[datetime, datetime] | None:
        """From the proof of life before the last re-list to that list; None: never re-listed.

        Objects that came and went in between left no trace.
        """
        return self._lost_sight

    @property
    def synced(self) -> bool:
        """Listed, decoded, and heard of recently."""
        return self.unsynced_because() is None

    def unsynced_because(self) -> str | None:
        """Why the store cannot be trusted now, as a sentence; None while it can."""
        if self._alive_at is None:
            return f"not listed yet{self._why()}"
        silent = self._clock.monotonic() - self._alive_at
        # one watch, its slack, and the time to begin the next
        if silent > 2 * self._watch_seconds:
            return f"nothing heard for {silent:.0f} s{self._why()}"
        return None

    def _why(self) -> str:
        return f" ({self._trouble})" if self._trouble else ""

    async def catch_up(self) -> None:
        """Return once every change up to now has surely been seen, as long as that takes.

        A quiet watch gives a sign of life only once a minute, so it is replaced by one that the
        server ends after a second: its orderly end is the proof.
        """
        if self._caught_up is None:
            self._caught_up = asyncio.Event()
            if self._open_watch is not None:
                self._open_watch.reschedule(asyncio.get_running_loop().time())
        await self._caught_up.wait()

    async def run(self) -> None:
        """Follow until cancelled. No failure of the API server ends this."""
        while True:
            try:
                if self._version is None or self._clock.monotonic() >= self._relist_at:
                    await self._list()
                await self._watch()
            except Gone as error:
                self._version = None
                await self._pause(error)
            except KubeError as error:
                await self._pause(error)

    async def _pause(self, error: KubeError) -> None:
        self._trouble = str(error)
        if isinstance(error, NotFound):
            self.known.set()
        self._recorder.reflector(self.resource, "error")
        delay = self._backoff.next_delay()
        _log.warning(
            "reflector_trouble",
            resource=self.resource,
            error=str(error),
            kind=type(error).__name__,
            retry_seconds=round(delay, 1),
        )
        await asyncio.sleep(delay)

    async def _list(self) -> None:
        self._recorder.reflector(self.resource, "relist" if self._ever_listed else "list")
        objects: list[ObjectT] = []
        version = ""
        async with aclosing(self._client.pages(self._path, page_size=self._page_size)) as pages:
            async for body in pages:
                try:
                    page = self._list_decoder.decode(body)
                except msgspec.MsgspecError as error:
                    raise Undecodable(f"list: {error}", path=self._path) from error
                objects.extend(page.items or ())
                version = page.metadata.resource_version
                await asyncio.sleep(0)  # let others run between the pages of a large list
        now = self._clock.now()
        if self._last_seen is not None:
            self._lost_sight = (self._last_seen, now)
        self._store.replace(objects, now)
        self._ever_listed = True
        self.known.set()
        self._version = version
        self._relist_at = self._clock.monotonic() + jittered(self._relist_seconds)
        self._seen()

    async def _watch(self) -> None:
        assert self._version is not None
        self._recorder.reflector(self.resource, "watch")
        began = self._clock.monotonic()
        lines = 0
        length = min(jittered(self._watch_seconds), max(1.0, self._relist_at - began))
        stream = self._client.watch(
            self._path,
            resource_version=self._version,
            timeout_seconds=length if self._caught_up is None else _SHORTEST_WATCH_SECONDS,
        )
        try:
            async with asyncio.timeout(None) as self._open_watch, aclosing(stream):
                async for line in stream:
                    if line:
                        lines += 1
                        self._apply(line)
                        self._seen()
        except TimeoutError:
            return  # somebody wants to catch up
        finally:
            self._open_watch = None
        if self._clock.monotonic() - began < _QUICK_END_SECONDS and not lines:
            raise Unavailable("the watch ended at once", path=self._path, reason="QuickEnd")
        self._seen()
        if self._caught_up is not None:
            self._caught_up.set()
            self._caught_up = None

    def _apply(self, line: bytes) -> None:
        try:
            event = _EVENT.decode(line)
            if event.type == "ERROR":
                status = _STATUS.decode(event.object)
                kind = Gone if status.code == HTTPStatus.GONE else Unavailable
                raise kind(
                    status.message or "watch error",
                    path=self._path,
                    status=status.code,
                    reason=status.reason,
                )
            if event.type == "BOOKMARK":
                self._version = _ANY_OBJECT.decode(event.object).metadata.resource_version
                return
            item = self._decoder.decode(event.object)
        except msgspec.MsgspecError as error:
            raise Undecodable(f"watch: {error}", path=self._path) from error
        if event.type == "DELETED":
            self._store.discard(item, self._clock.now())
        else:
            self._store.put(item, self._clock.now())
        self._version = item.metadata.resource_version

    def _seen(self) -> None:
        self._alive_at = self._clock.monotonic()
        self._last_seen = self._clock.now()
        self._trouble = ""
        self._backoff.reset()
