"""Kubernetes Events (events.k8s.io/v1) about Spaces: deduplicated, limited, never in the way.

A repetition of an Event is not a new object: it becomes a series on the first one, updated at
most every half minute. Beyond the rate limit Events are dropped and counted; each namespace has a
share of it, so that none is silenced by what another one brings about. No caller waits long or
fails for an Event.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import structlog

from metrics.core.clock import Clock
from metrics.recorder import Recorder
from sleeper.core.names import GROUP
from sleeper.core.objects import Namespace
from sleeper.kube.client import KubeClient
from sleeper.kube.errors import KubeError, Unavailable
from sleeper.kube.times import micro_time

SERIES_WINDOW_SECONDS: Final = 600.0
"""The same Event within this time after the last one is a repetition."""

SERIES_UPDATE_SECONDS: Final = 30.0
"""A series is written at most this often."""

BURST: Final = 50
EVENTS_PER_SECOND: Final = 5.0

NAMESPACE_BURST: Final = 10
NAMESPACE_EVENTS_PER_SECOND: Final = 0.1
"""The share of one namespace: a sleep and a wake, told with all that belongs to them, and again."""

MOST_WRITES: Final = 8
"""Events that are written at a time; the others wait for a moment."""

_REQUEST_TIMEOUT_SECONDS: Final = 3.0
_KNOWN_LIMIT: Final = 4096
_NOTE_LIMIT: Final = 1024
"""The API server refuses longer notes."""

_CONTROLLER: Final = GROUP
_NAME_LIMIT: Final = 200

_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class _Series:
    path: str
    count: int
    seen_at: float
    written_at: float


class EventRecorder:
    """Records Events about namespaces, in those namespaces.

    Args:
        client: the API server.
        instance: who reports, unique to this process (``reportingInstance``).
        clock: monotonic time for limits, wall time for the Event.
        recorder: counts what was dropped.
    """

    def __init__(
        self, client: KubeClient, *, instance: str, clock: Clock, recorder: Recorder
    ) -> None:
        self._client = client
        self._instance = instance
        self._clock = clock
        self._recorder = recorder
        self._turns = asyncio.Semaphore(MOST_WRITES)
        self._known: OrderedDict[tuple[str, ...], _Series] = OrderedDict()
        self._all = _Bucket(BURST, EVENTS_PER_SECOND, clock.monotonic())
        self._shares: OrderedDict[str, _Bucket] = OrderedDict()

    async def record(
        self,
        *,
        regarding: Namespace,
        reason: str,
        note: str,
        action: str,
        type: str = "Normal",  # noqa: A002 - the API's own word
    ) -> None:
        """Record one Event; what the API server says about it is logged, never raised.

        Args:
            regarding: the Space.
            reason: CamelCase.
            note: one sentence for people.
            action: CamelCase, what was done or refused.
            type: ``Normal`` or ``Warning``.
        """
        note = note[:_NOTE_LIMIT]
        key = (regarding.metadata.uid, reason, note, action, type)
        now = self._clock.monotonic()
        series = self._known.get(key)
        if series is not None and now - series.seen_at < SERIES_WINDOW_SECONDS:
            series.count += 1
            series.seen_at = now
            self._known.move_to_end(key)
            if now - series.written_at >= SERIES_UPDATE_SECONDS:
                series.written_at = now
                await self._continue(series)
            return
        if not self._take_token(regarding.metadata.name, now):
            self._recorder.event_dropped()
            return
        await self._begin(key, regarding, reason=reason, note=note, action=action, kind=type)

    async def _begin(
        self,
        key: tuple[str, ...],
        regarding: Namespace,
        *,
        reason: str,
        note: str,
        action: str,
        kind: str,
    ) -> None:
        meta = regarding.metadata
        name = f"{meta.name[:_NAME_LIMIT]}.{uuid4().hex}"
        collection = f"/apis/events.k8s.io/v1/namespaces/{meta.name}/events"
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": meta.name},
            "eventTime": micro_time(self._clock.now()),
            "reportingController": _CONTROLLER,
            "reportingInstance": self._instance,
            "action": action,
            "reason": reason,
            # with a namespace of its own, so that the Event can stand where the owner looks
            "regarding": {
                "apiVersion": "v1",
                "kind": "Namespace",
                "name": meta.name,
                "namespace": meta.name,
                "uid": meta.uid,
            },
            "note": note,
            "type": kind,
        }
        try:
            async with self._turn():
                await self._client.create(
                    collection, body, timeout_seconds=_REQUEST_TIMEOUT_SECONDS
                )
        except KubeError as error:
            self._drop(error, reason)
            return
        now = self._clock.monotonic()
        self._known[key] = _Series(
            path=f"{collection}/{name}", count=1, seen_at=now, written_at=now
        )
        if len(self._known) > _KNOWN_LIMIT:
            self._known.popitem(last=False)

    async def _continue(self, series: _Series) -> None:
        body = {
            "series": {
                "count": series.count,
                "lastObservedTime": micro_time(self._clock.now()),
            }
        }
        try:
            async with self._turn():
                await self._client.merge_patch(
                    series.path, body, timeout_seconds=_REQUEST_TIMEOUT_SECONDS
                )
        except KubeError as error:
            # the API server forgets Events after an hour; the next one begins anew
            series.seen_at -= SERIES_WINDOW_SECONDS
            self._drop(error, "series")

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One of the writes at a time; whoever does not get it soon drops the Event."""
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT_SECONDS):
                await self._turns.acquire()
        except TimeoutError as error:
            raise Unavailable("too many Events are being written") from error
        try:
            yield
        finally:
            self._turns.release()

    def _drop(self, error: KubeError, reason: str) -> None:
        self._recorder.event_dropped()
        _log.info("event_dropped", reason=reason, error=str(error))

    def _take_token(self, namespace: str, now: float) -> bool:
        """Whether one more Event about this namespace may be created now."""
        share = self._shares.get(namespace)
        if share is None:
            share = _Bucket(NAMESPACE_BURST, NAMESPACE_EVENTS_PER_SECOND, now)
            self._shares[namespace] = share
            if len(self._shares) > _KNOWN_LIMIT:
                self._shares.popitem(last=False)
        self._shares.move_to_end(namespace)
        return share.take(now) and self._all.take(now)


class _Bucket:
    """A token bucket, full at first."""

    def __init__(self, burst: int, per_second: float, now: float) -> None:
        self._burst = float(burst)
        self._per_second = per_second
        self._tokens = self._burst
        self._at = now

    def take(self, now: float) -> bool:
        """Take one token, if there is one."""
        refill = (now - self._at) * self._per_second
        self._tokens = min(self._burst, self._tokens + refill)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
