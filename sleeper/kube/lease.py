"""Leader election by a Lease, judged by what we observe on our own monotonic clock.

The times inside the Lease are other machines' and only compared for having changed: a holder is
alive while its Lease keeps changing, and lost once it has not changed for as long as it promised.
Our own lease runs from the moment at which the successful renewal was *sent*, so that everybody
else's count ends later than ours. Whoever cannot renew stops leading after the renew deadline,
which leaves the rest of the duration as a margin for clocks that run at different speeds.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

import msgspec
import structlog

from metrics.core.clock import Clock
from metrics.core.instants import parse
from metrics.recorder import Recorder
from sleeper.core.jsonpatch import add, test
from sleeper.core.objects import Metadata
from sleeper.errors import ConfigError
from sleeper.kube.client import KubeClient
from sleeper.kube.errors import AlreadyExists, KubeError, NotFound, TestFailed, Undecodable
from sleeper.kube.times import micro_time
from sleeper.telemetry.clock import jittered

_log = structlog.get_logger(__name__)

_SURELY_LAPSED_SECONDS: Final = 0.001
"""A timer may ring a moment before its time."""

_RELEASED_SECONDS: Final = 1
"""Duration that a released Lease promises: whoever waits may take it at once."""


class _LeaseSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Lease(msgspec.Struct, frozen=True, kw_only=True):
    metadata: Metadata
    spec: _LeaseSpec = msgspec.field(default_factory=_LeaseSpec)


_LEASE: Final = msgspec.json.Decoder(_Lease)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTiming:
    """How long the Lease holds and how it is kept.

    Attributes:
        duration_seconds: others wait for so long after our last renewal that they saw.
        renew_deadline_seconds: without a successful renewal we stop leading after this time.
        retry_period_seconds: time between renewals, and between attempts to acquire.
        request_timeout_seconds: a renewal without an answer is given up after this time.
    """

    duration_seconds: int = 15
    renew_deadline_seconds: float = 10.0
    retry_period_seconds: float = 2.0
    request_timeout_seconds: float = 4.0

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: with the numbers in the sentence.
        """
        ladder = (
            ("lease duration", float(self.duration_seconds)),
            ("renew deadline", self.renew_deadline_seconds),
            ("twice the request timeout", 2 * self.request_timeout_seconds),
        )
        for (longer, long_seconds), (shorter, short_seconds) in itertools.pairwise(ladder):
            if long_seconds <= short_seconds:
                raise ConfigError(
                    f"{longer} ({long_seconds:g} s) must be longer than "
                    f"{shorter} ({short_seconds:g} s)"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A Lease as somebody reads it who does not want it.

    Attributes:
        holder: who holds it; empty: nobody.
        renewed_at: when, by the holder's clock; None: that is not known.
        promised: how long it holds from then on.
    """

    holder: str
    renewed_at: datetime | None
    promised: timedelta


async def read_hold(client: KubeClient, *, namespace: str, name: str) -> Hold:
    """Who holds a Lease.

    Raises:
        KubeError: there is none, or it could not be read.
    """
    collection = f"/apis/coordination.k8s.io/v1/namespaces/{quote(namespace, safe='')}/leases"
    spec = _decode(await client.get(f"{collection}/{quote(name, safe='')}")).spec
    return Hold(
        holder=spec.holder_identity or "",
        renewed_at=parse(spec.renew_time or ""),
        promised=timedelta(seconds=spec.lease_duration_seconds or 0),
    )


class Elector:
    """Takes and keeps one Lease. Any replica may run one; at most one leads.

    ``leading`` and ``may_write`` are reckoned when they are asked, so a process that was stopped
    and goes on knows at once that it no longer leads.

    Args:
        client: the API server.
        namespace: where the Lease is, our own.
        name: of the Lease.
        identity: unique to this process.
        timing: durations.
        clock: monotonic time for judging, wall time for what others may read.
        recorder: told of every change.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        timing: LeaseTiming,
        clock: Clock,
        recorder: Recorder,
    ) -> None:
        self.identity = identity
        self._client = client
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path = f"{self._collection}/{quote(name, safe='')}"
        self._name = name
        self._timing = timing
        self._clock = clock
        self._recorder = recorder
        self._listeners: list[Callable[[bool], None]] = []
        self._renewed_at: float | None = None
        self._told: bool | None = None
        self._observed: _Lease | None = None
        self._observed_at = 0.0
        self._lapse: asyncio.TimerHandle | None = None

    @property
    def leading(self) -> bool:
        """Whether we hold the Lease and have renewed it within the renew deadline."""
        return (
            self._renewed_at is not None
            and self._clock.monotonic() - self._renewed_at < self._timing.renew_deadline_seconds
        )

    @property
    def holder(self) -> str | None:
        """Identity of who held the Lease when we last saw it."""
        return self._observed.spec.holder_identity if self._observed else None

    def remaining_seconds(self) -> float:
        """Time until another replica can take over; 0 while we do not lead."""
        if self._renewed_at is None or not self.leading:
            return 0.0
        return self._renewed_at + self._timing.duration_seconds - self._clock.monotonic()

    def may_write(self, timeout_seconds: float) -> bool:
        """Whether a write that takes up to ``timeout_seconds`` ends before our lease does."""
        return self.remaining_seconds() > timeout_seconds

    def subscribe(self, callback: Callable[[bool], None]) -> None:
        """Call back with True on taking the Lease and with False on losing it.

        Also where both lie within one round, before anybody could look: whoever was refused
        something in between is told of either.
        """
        self._listeners.append(callback)

    async def run(self) -> None:
        """Acquire and renew until cancelled, then release.

        Cancel this last, when nobody writes any more in the name of the Lease.
        """
        try:
            while True:
                await self._round()
                self._tell()
                await asyncio.sleep(jittered(self._timing.retry_period_seconds, share=0.1))
        finally:
            if self._lapse is not None:
                self._lapse.cancel()
            await self._release()
            self._tell()

    async def _round(self) -> None:
        try:
            async with asyncio.timeout(self._timing.renew_deadline_seconds):
                await self._acquire_or_renew()
        except (KubeError, TimeoutError) as error:
            log = _log.warning if self.leading else _log.info
            log("lease_not_renewed", lease=self._name, error=str(error) or type(error).__name__)

    async def _acquire_or_renew(self) -> None:
        if self._renewed_at is None or self._observed is None:
            await self._observe()
        lease = self._observed
        if lease is None:
            await self._create()
        elif lease.spec.holder_identity == self.identity or self._expired(lease):
            await self._take(lease)
        else:
            self._renewed_at = None

    async def _observe(self) -> None:
        """Read the Lease; note when it was first seen as it is."""
        try:
            body = await self._client.get(
                self._path, timeout_seconds=self._timing.request_timeout_seconds
            )
        except NotFound:
            self._observed = None
            self._renewed_at = None
            return
        self._note(_decode(body))

    def _note(self, lease: _Lease) -> None:
        seen = self._observed
        if seen is None or seen.metadata.resource_version != lease.metadata.resource_version:
            self._observed = lease
            self._observed_at = self._clock.monotonic()

    def _expired(self, lease: _Lease) -> bool:
        if not lease.spec.holder_identity:
            return True
        promised = lease.spec.lease_duration_seconds or self._timing.duration_seconds
        return self._clock.monotonic() - self._observed_at >= promised

    async def _create(self) -> None:
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name},
            "spec": self._spec(transitions=0),
        }
        sent = self._clock.monotonic()
        try:
            body = await self._client.create(
                self._collection,
                lease,
                timeout_seconds=self._timing.request_timeout_seconds,
            )
        except AlreadyExists:
            return
        self._hold(_decode(body), sent)

    async def _take(self, lease: _Lease) -> None:
        """Write ourselves into the Lease as it was read; renew if it is ours already."""
        ours = lease.spec.holder_identity == self.identity
        transitions = (lease.spec.lease_transitions or 0) + (0 if ours else 1)
        acquired = lease.spec.acquire_time if ours else None
        sent = self._clock.monotonic()
        try:
            body = await self._write(lease, self._spec(transitions=transitions, acquired=acquired))
        except TestFailed:
            # somebody else, or a renewal of ours whose answer was lost
            await self._observe()
            if self.holder != self.identity:
                self._renewed_at = None
            return
        except NotFound:
            # deleted; whoever makes it anew leads, and that may be another by now
            self._observed = None
            self._renewed_at = None
            return
        self._hold(_decode(body), sent)

    async def _write(self, lease: _Lease, spec: _LeaseSpec) -> bytes:
        """Write the spec, only while the Lease is as it was read."""
        ops = [
            test("/metadata/resourceVersion", lease.metadata.resource_version),
            add("/spec", spec),
        ]
        return await self._client.json_patch(
            self._path, ops, timeout_seconds=self._timing.request_timeout_seconds
        )

    def _hold(self, lease: _Lease, sent: float) -> None:
        self._tell()  # a slow renewal, or a loop that stood, may have let it lapse until now
        self._note(lease)
        self._renewed_at = sent
        self._tell_of_a_lapse()

    def _tell_of_a_lapse(self) -> None:
        """Say so as soon as the renew deadline passes, also while a renewal is under way."""
        assert self._renewed_at is not None
        if self._lapse is not None:
            self._lapse.cancel()
        lapses_at = self._renewed_at + self._timing.renew_deadline_seconds
        self._lapse = asyncio.get_running_loop().call_later(
            max(0.0, lapses_at - self._clock.monotonic()) + _SURELY_LAPSED_SECONDS, self._tell
        )

    def _spec(self, *, transitions: int, acquired: str | None = None) -> _LeaseSpec:
        now = micro_time(self._clock.now())
        return _LeaseSpec(
            holder_identity=self.identity,
            lease_duration_seconds=self._timing.duration_seconds,
            acquire_time=acquired or now,
            renew_time=now,
            lease_transitions=transitions,
        )

    async def _release(self) -> None:
        """Give the Lease back, so that another replica need not wait; failing that, it expires."""
        held, self._renewed_at = self._renewed_at is not None, None
        if not held:
            return
        try:
            try:
                await self._give_back()
            except TestFailed:  # a renewal that was under way at the end took effect unheard
                await self._observe()
                await self._give_back()
        except KubeError as error:
            _log.info("lease_not_released", lease=self._name, error=str(error))

    async def _give_back(self) -> None:
        lease = self._observed
        if lease is None or lease.spec.holder_identity != self.identity:
            return
        now = micro_time(self._clock.now())
        spec = msgspec.structs.replace(
            lease.spec,
            holder_identity="",
            lease_duration_seconds=_RELEASED_SECONDS,
            renew_time=now,
            acquire_time=now,
        )
        await self._write(lease, spec)

    def _tell(self) -> None:
        leading = self.leading
        if leading == self._told:
            return
        if self._told is not None or leading:
            _log.info("lease_taken" if leading else "lease_lost", lease=self._name)
        self._told = leading
        self._recorder.lease(leading=leading)
        for listener in self._listeners:
            listener(leading)


def _decode(body: bytes) -> _Lease:
    try:
        return _LEASE.decode(body)
    except msgspec.MsgspecError as error:
        raise Undecodable(f"lease: {error}") from error
