"""What happens to the two replicas and between them and the API server."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from devcluster.client import Cluster

from tests.cluster.scene import LEASES, behind_proxy
from tests.support.api import Api
from tests.support.daemon import Daemon, daemon_config, end, merged
from tests.support.faultproxy import FaultProxy, Moment, Rule

LEASE: Final = "sleeper-siege"
_TIMES: Final[Mapping[str, Any]] = {
    "kubernetes": {"request_timeout_seconds": 1},
    "api_signal": {"enabled": False},
    "lease": {"duration_seconds": 4, "renew_deadline_seconds": 3, "retry_period_seconds": 0.5},
    "sleep": {"deadline_seconds": 20, "retry_backoff_seconds": 1},
    "wake": {"deadline_seconds": 25},
}
"""As short as the shipped ones are long."""


class Aim(Protocol):
    """A Space as a fault sees it."""

    @property
    def name(self) -> str:
        """Of the namespace."""
        ...

    @property
    def uid(self) -> str:
        """Of the namespace."""
        ...


@dataclass(slots=True, kw_only=True)
class Replica:
    """One daemon behind a proxy of its own.

    Attributes:
        doomed: its next end is of our making.
        crashes: ends that were not.
    """

    daemon: Daemon
    proxy: FaultProxy
    doomed: bool = False
    crashes: list[str] = field(default_factory=list)
    down_until: float = 0.0


class Siege:
    """Two replicas, and what is done to them.

    Args:
        replicas: the two.
        api: for who holds the Lease.
        counts: what was done.
        note: told of each fault, with the Space that it is aimed at or an empty name.
    """

    def __init__(
        self,
        replicas: list[Replica],
        api: Api,
        counts: Counter[str],
        note: Callable[[str, str], None],
    ) -> None:
        self.replicas = replicas
        self._api = api
        self._counts = counts
        self._note = note
        self.until = 0.0
        """Monotonic time until which a fault waits for the write that it is meant for."""
        self._late: list[tuple[float, Rule, str]] = []
        """Holds: when each is to be released."""
        self.disturbed: set[str] = set()
        """Uids of Spaces of which a write was held back: a record of theirs may come back."""

    @classmethod
    @asynccontextmanager
    async def laid(
        cls,
        cluster: Cluster,
        api: Api,
        directory: Path,
        counts: Counter[str],
        note: Callable[[str, str], None],
    ) -> AsyncIterator[Siege]:
        """Two replicas on one database, sharing a Lease; ended with the context."""
        async with AsyncExitStack() as stack:
            replicas: list[Replica] = []
            database = f"sqlite+aiosqlite:///{directory / 'sleeper.sqlite3'}"
            for number, name in enumerate(("one", "two")):
                home = directory / name
                home.mkdir(parents=True)
                proxy, kubeconfig = await stack.enter_async_context(behind_proxy(cluster, home))
                own = {
                    "kubernetes": {"kubeconfig": str(kubeconfig)},
                    "database": {"url": database},
                    "lease": {"identity": name},
                    "api": {"port": cluster.daemon_port + number},
                }
                config = daemon_config(cluster, home, merged(_TIMES, own), lease=LEASE)
                daemon = Daemon(directory=home, config=config)
                replicas.append(Replica(daemon=daemon, proxy=proxy))
                stack.callback(end, daemon)
            for replica in replicas:
                await replica.daemon.start(within=60)
            yield cls(replicas, api, counts, note)

    # -- by name ---------------------------------------------------------------------------------

    async def strike(self, name: str, /, **parameters: Any) -> None:
        """Let one of the faults happen, now or at the next write that it waits for.

        ``which=0`` is whoever holds the Lease, 1 the other one.
        """
        if "which" in parameters and await self._leader() == 1:
            parameters["which"] = 1 - parameters["which"]
        await getattr(self, f"do_{name}")(**parameters)

    async def do_kill(self, which: int, seconds: float) -> None:
        """SIGKILL, and start again after so long."""
        replica = self.replicas[which]
        if replica.daemon.running:
            self._say(f"replica {which} is killed, for {seconds:.1f} s", "kills")
            replica.daemon.kill()
            replica.down_until = time.monotonic() + seconds

    async def do_kill_both(self, seconds: float) -> None:
        """Both at once."""
        for which in range(len(self.replicas)):
            await self.do_kill(which, seconds)

    async def do_stop(self, which: int, seconds: float) -> None:
        """SIGTERM, as a roll-out of the daemon does it."""
        replica = self.replicas[which]
        if replica.daemon.running:
            self._say(f"replica {which} is stopped, for {seconds:.1f} s", "orderly restarts")
            replica.doomed = True
            replica.down_until = time.monotonic() + seconds + 1000
            await replica.daemon.stop()
            replica.down_until = time.monotonic() + seconds

    async def do_pause(self, which: int, seconds: float) -> None:
        """SIGSTOP for so long."""
        daemon = self.replicas[which].daemon
        if daemon.running:
            self._say(f"replica {which} is paused for {seconds:.1f} s", "pauses")
            daemon.pause()
            try:
                await asyncio.sleep(seconds)
            finally:
                daemon.resume()

    async def do_pause_at_write(self, which: int, space: Aim, skip: int, seconds: float) -> None:
        """SIGSTOP at a write of a flight of that Space, which the proxy holds back as long."""
        replica = self.replicas[which]
        rule = await replica.proxy.hold(skip=skip, times=1, **writes(space))
        if await self._fired(rule):
            self._say(f"replica {which} is paused at a write for {seconds:.1f} s", "pauses", space)
            if replica.daemon.running:
                replica.daemon.pause()
            try:
                await rule.release()
                await asyncio.sleep(seconds)
            finally:
                replica.daemon.resume()
        await rule.remove()

    async def do_kill_at_write(
        self, which: int, space: Aim, skip: int, moment: Moment, seconds: float
    ) -> None:
        """SIGKILL around a write of a flight of that Space."""
        replica = self.replicas[which]
        if not replica.daemon.running:
            return
        replica.doomed = True
        rule = await replica.proxy.kill(
            pid=replica.daemon.pid, at=moment, skip=skip, times=1, **writes(space)
        )
        if await self._fired(rule):
            self._say(f"replica {which} was killed at write {skip}, {moment}", "kills", space)
            replica.down_until = time.monotonic() + seconds
        await rule.remove()

    async def do_hold(self, which: int, space: Aim, skip: int, seconds: float, kill: bool) -> None:
        """A write of a flight of that Space is held back, and lands late."""
        replica = self.replicas[which]
        rule = await replica.proxy.hold(skip=skip, times=1, **writes(space))
        if not await self._fired(rule):
            await rule.remove()
            return
        self._say(
            f"write {skip} of replica {which} is held for {seconds:.1f} s", "late writes", space
        )
        self._late.append((time.monotonic() + seconds, rule, space.name))
        self.disturbed.add(space.uid)
        if kill:
            await self.do_kill(which, 1.0)

    async def do_drop(self, which: int, space: Aim, skip: int, after: bool, times: int) -> None:
        """The connection is torn down before or after writes of a flight of that Space."""
        proxy = self.replicas[which].proxy
        rule = await proxy.drop(
            at="after" if after else "before", skip=skip, times=times, **writes(space)
        )
        if await self._fired(rule):
            where = "after" if after else "before"
            self._say(f"replica {which} lost its connection {where} a write", "lost answers", space)
            await asyncio.sleep(1)
        await rule.remove()

    async def do_slow(self, which: int, space: Aim, seconds: float, length: float) -> None:
        """Every write of a flight of that Space takes longer, for a while."""
        rule = await self.replicas[which].proxy.delay(seconds=seconds, times=None, **writes(space))
        await asyncio.sleep(length)
        if await rule.seen():
            self._say(f"writes of replica {which} took {seconds:.1f} s longer", "slow", space)
        await rule.remove()

    async def do_refuse(self, which: int, space: Aim, skip: int, status: int, times: int) -> None:
        """Writes of a flight of that Space are answered with an error."""
        answer = f'{{"kind":"Status","code":{status},"message":"siege","reason":"Siege"}}'
        rule = await self.replicas[which].proxy.respond(
            status=status, answer=answer, skip=skip, times=times, **writes(space)
        )
        if await self._fired(rule):
            self._say(f"replica {which} was answered {status}", "refused writes", space)
            await asyncio.sleep(1)
        await rule.remove()

    async def do_cut(self, which: int) -> None:
        """All watches are torn down."""
        if await self.replicas[which].proxy.cut():
            self._say(f"the watches of replica {which} were cut", "cut watches")

    async def _leader(self) -> int:
        found = await self._api.find(f"{LEASES}/{LEASE}")
        return 0 if found is None else int(found["spec"].get("holderIdentity") == "two")

    # -- all the time ----------------------------------------------------------------------------

    async def tend(self) -> None:
        """Start again what is due, and let go of what has been held long enough; for ever."""
        while True:
            now = time.monotonic()
            for which, replica in enumerate(self.replicas):
                if replica.daemon.running:
                    continue
                if not replica.doomed and not replica.down_until:
                    replica.crashes.append(replica.daemon.log[-3000:])
                if now >= replica.down_until:
                    replica.doomed, replica.down_until = False, 0.0
                    self._note("", f"replica {which} is started")
                    replica.daemon.spawn()
            for late in [late for late in self._late if late[0] <= now]:
                await self._let_go(late)
            await asyncio.sleep(0.2)

    async def lift(self) -> None:
        """No fault any more, and both replicas are up."""
        for late in list(self._late):
            await self._let_go(late)
        for replica in self.replicas:
            await replica.proxy.clear()
            replica.daemon.resume()
            replica.down_until = min(replica.down_until, time.monotonic())
        for replica in self.replicas:
            await self._up(replica)

    async def _up(self, replica: Replica) -> None:
        deadline = time.monotonic() + 60
        while await replica.daemon.get_status("/readyz") != 200:
            if time.monotonic() > deadline:
                replica.crashes.append(f"not ready in 60 s:\n{replica.daemon.log[-3000:]}")
                return
            await asyncio.sleep(0.3)
        replica.doomed = False

    async def _let_go(self, late: tuple[float, Rule, str]) -> None:
        if late in self._late:
            self._late.remove(late)
            self._note(late[2], "a held write is let go")
            await late[1].release()

    async def _fired(self, rule: Rule) -> bool:
        try:
            await rule.fired(timeout_seconds=max(1.0, self.until - time.monotonic()))
        except TimeoutError:
            self._counts["faults that met no write"] += 1
            return False
        return True

    def _say(self, what: str, counted: str, space: Aim | None = None) -> None:
        self._counts[counted] += 1
        self._note("" if space is None else space.name, what)


def writes(space: Aim) -> dict[str, Any]:
    """Matches the writes of flights of a Space, and whatever record is created meanwhile."""
    return {
        "methods": ["POST", "PATCH", "DELETE"],
        "path": f"/sleeprecords([?]|$)|/sleeprecords/{space.uid}"
        f"|/namespaces/{space.name}/(deployments|statefulsets)/|/namespaces/{space.name}[?]",
        "without": "last-activity|next-transition",
    }
