"""The walk: episodes of owners and faults, each followed by a judgement of every Space."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from textwrap import shorten
from typing import Any, Final

from devcluster.client import Cluster

from tests.siege.acts import RECORDS, NotNowError, Owner
from tests.siege.faults import Siege
from tests.siege.model import GROUP, Complaint, Json, Sight, SpaceModel, is_copy, replicas_of
from tests.siege.plan import Episode, Step, Strike, episode, furniture
from tests.siege.world import look
from tests.support import manifests
from tests.support.api import Api, ApiError

SETTLES_WITHIN: Final = 60.0
"""Seconds after the last fault: what is not right then is stuck, or lost."""

_OVERTIME_SECONDS: Final = 5.0
_HISTORY: Final = 40
_LINE_CHARACTERS: Final = 400
_ORPHANED_SECONDS: Final = 120.0
_SLEEPER: Final = Path(sys.executable).parent / "sleeper"


@dataclass(slots=True, kw_only=True)
class Space:
    """One Space under siege.

    Attributes:
        history: what was last done to it.
    """

    name: str
    uid: str
    owner: Owner
    model: SpaceModel
    history: deque[str] = field(default_factory=lambda: deque(maxlen=_HISTORY))


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What was found wrong."""

    episode: int
    space: str
    complaints: tuple[str, ...]


class Walk:
    """A walk of so long.

    Args:
        out: where failures are written down, one directory each.
        say: called with a line of progress.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        api: Api,
        seed: str,
        slots: int,
        seconds: float,
        out: Path,
        say: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._api = api
        self._seed = seed
        self._slots = slots
        self._seconds = seconds
        self._out = out
        self._say = say
        self.counts: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self._spaces: list[Space] = []
        self._guests: list[Space] = []
        self._generation: Counter[int] = Counter()
        self._faults: deque[str] = deque(maxlen=_HISTORY)
        self._siege: Siege | None = None
        self._began = time.monotonic()
        self._seen: dict[str, str] = {}
        self._epochs: dict[tuple[str, int], str] = {}
        self._orphans: dict[str, float] = {}

    async def run(self, *, minutes: float, first: int = 0) -> None:
        """Walk until the time is up; the last episode is judged awake."""
        until = time.monotonic() + minutes * 60
        directory = self._out / "replicas"
        async with (
            Siege.laid(self._cluster, self._api, directory, self.counts, self._note) as siege,
            asyncio.TaskGroup() as group,
        ):
            self._siege = siege
            background = [group.create_task(siege.tend()), group.create_task(self._watch_records())]
            for slot in range(self._slots):
                self._spaces.append(await self._furnished(slot))
            number = first
            await self._judge(
                Episode(number=number, steps=(), strikes=(), wakes=(), retires=frozenset())
            )
            while time.monotonic() < until:
                drawn = episode(self._seed, number, slots=self._slots, seconds=self._seconds)
                await self._live_through(drawn)
                await self._judge(drawn)
                self.counts["episodes"] += 1
                number += 1
            last = Episode(
                number=number,
                steps=(),
                strikes=(),
                wakes=(True,) * self._slots,
                retires=frozenset(range(self._slots)),
            )
            await self._judge(last)
            for task in background:
                task.cancel()

    # -- an episode ------------------------------------------------------------------------------

    async def _live_through(self, drawn: Episode) -> None:
        assert self._siege is not None
        self._siege.until = time.monotonic() + self._seconds + _OVERTIME_SECONDS
        async with asyncio.TaskGroup() as group:
            for space, steps in zip(self._spaces, drawn.steps, strict=True):
                group.create_task(self._own(space, steps))
            for strike in drawn.strikes:
                group.create_task(self._strike(strike))

    async def _own(self, space: Space, steps: Iterable[Step]) -> None:
        for step in steps:
            await asyncio.sleep(step.wait)
            try:
                if step.act == "restore_elsewhere":
                    await self._restore_elsewhere(space)
                else:
                    await space.owner.act(step.act, **step.parameters)
            except NotNowError as why:
                self._note(space.name, f"{step}: not now: {why}")
                self.counts["acts that did not apply"] += 1
            except ApiError as error:
                self._note(space.name, f"{step}: refused: {error}")
                self.counts["acts that were refused"] += 1
            except Exception:  # the rest of the hour is worth more
                self._fail(-1, None, [f"the walk itself, at {step}: {traceback.format_exc()}"])
            else:
                self._note(space.name, str(step))
                self.counts["owner's acts"] += 1

    async def _strike(self, strike: Strike) -> None:
        await asyncio.sleep(strike.at)
        assert self._siege is not None
        aim = {} if strike.slot is None else {"space": self._spaces[strike.slot]}
        try:
            await self._siege.strike(strike.fault, **strike.parameters, **aim)
        except Exception:  # the rest of the hour is worth more
            self._fail(-1, None, [f"the walk itself, at {strike}: {traceback.format_exc()}"])

    # -- judgement -------------------------------------------------------------------------------

    async def _judge(self, drawn: Episode) -> None:
        """Wait until every Space is as it has to be; write down which is not."""
        assert self._siege is not None
        await self._siege.lift()
        wakes = drawn.wakes or (False,) * len(self._spaces)
        asked = [s for s, wakes_it in zip(self._spaces, wakes, strict=True) if wakes_it]
        asked += self._guests
        asked = [s for s in asked if "not a Space" not in s.model.holds]
        began = time.monotonic()
        waking = asyncio.create_task(self._wake(asked)) if asked else None
        pending = {s.name: s for s in (*self._spaces, *self._guests)}
        quiet: Counter[str] = Counter()
        found: dict[str, list[Complaint]] = {}
        last: dict[str, list[Complaint]] = {}
        sights: dict[str, Sight] = {}
        while pending and time.monotonic() - began < SETTLES_WITHIN:
            await asyncio.sleep(0.6)
            sights = dict(await look(self._api))
            for space in list(pending.values()):
                sight = sights[space.name]
                found[space.name] = space.model.complaints(sight, asked=space in asked)
                if not found[space.name] and quiet[space.name]:
                    found[space.name] = await self._conflicts(space)
                    found[space.name] += await self._untold(space, sight)
                quiet[space.name] = 0 if found[space.name] else quiet[space.name] + 1
                last[space.name] = found[space.name] or last.get(space.name, [])
                if quiet[space.name] >= 2:
                    space.model.settle(sight)
                    self.counts["judgements " + ("awake" if sight.awake else "asleep")] += 1
                    reason = sight.annotations.get(f"{GROUP}reason")
                    if sight.awake and sight.annotations.get(f"{GROUP}desired") == "asleep":
                        self.counts[f"held awake: {reason}"] += 1
                    self._note(space.name, f"judged: {sight.power} ({reason})")
                    del pending[space.name]
        if waking is not None:
            code, said = await waking
            if code != 0:
                ended = said.strip().rpartition("\n")[2]
                self._note("", f"sleeper wake ended with {code}: {ended}")
                self.counts["wake commands that failed"] += 1
        for replica in self._siege.replicas:
            for crash in replica.crashes:
                self._fail(drawn.number, None, [f"a replica ended by itself: {crash}"])
            replica.crashes.clear()
        for space in pending.values():
            complaints = [str(complaint) for complaint in last[space.name]]
            self._fail(drawn.number, space, complaints)
            await self._write_down(space, sights[space.name], complaints)
        self._progress(drawn.number)
        self._merge_counts()
        for guest in self._guests:
            await self._api.delete(f"/api/v1/namespaces/{guest.name}")
        self._guests.clear()
        is_last = drawn.retires == frozenset(range(self._slots))
        for slot, space in enumerate(self._spaces):
            fights = sights[space.name].annotations.get(f"{GROUP}reason") == "ConflictingWriter"
            if space.name in pending or fights or slot in drawn.retires:
                await self._api.delete(f"/api/v1/namespaces/{space.name}")
                if not is_last:
                    self.counts["Spaces replaced"] += 1
                    self._spaces[slot] = await self._furnished(slot)

    async def _conflicts(self, space: Space) -> list[Complaint]:
        """What the owner's next server-side applies would meet."""
        found = []
        for key in space.model.wills:
            message = await space.owner.meets_sleeper(key)
            if message is not None:
                found.append(Complaint(what="left", subject="/".join(key), message=message))
        return found

    async def _untold(self, space: Space, sight: Sight) -> list[Complaint]:
        """Copies that wait at zero for a wake, and that nothing names."""
        waiting = [
            "/".join(key)
            for key, will in space.model.wills.items()
            if will.copied
            and is_copy(sight.workloads[key])
            and replicas_of(sight.workloads[key]) == 0
            and max(will.replicas) > 0
        ]
        if not waiting or not sight.is_space:
            return []
        self.counts["copies that waited for a wake"] += 1
        assert self._siege is not None
        told = await self._siege.replicas[0].daemon.get_json(f"/api/v1/spaces/{space.name}")
        text = json.dumps(told)
        return [
            Complaint(what="told", subject=name, message="it waits for a wake, and nobody says so")
            for name in waiting
            if name not in text
        ]

    async def _wake(self, spaces: list[Space]) -> tuple[int, str]:
        """``sleeper wake --wait`` by its real command."""
        process = await asyncio.create_subprocess_exec(
            _SLEEPER,
            "wake",
            *(space.name for space in spaces),
            "--for=30s",
            "--wait",
            "--timeout=60s",
            f"--kubeconfig={self._cluster.kubeconfig('admin')}",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        for space in spaces:
            space.model.wanted = "awake"
            self._note(space.name, "sleeper wake --wait")
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    # -- Spaces ----------------------------------------------------------------------------------

    async def _furnished(self, slot: int) -> Space:
        generation = self._generation[slot]
        self._generation[slot] += 1
        space = await self._namespace(f"siege-{slot}-{generation}", slot, generation)
        await space.owner.furnish()
        return space

    async def _namespace(self, name: str, slot: int, generation: int) -> Space:
        made = await self._api.create(manifests.namespace(name, tenant="tenant-a"))
        model, uid = SpaceModel(), made["metadata"]["uid"]
        owner = Owner(
            api=self._api,
            name=name,
            uid=uid,
            model=model,
            furniture={item.name: item for item in furniture(self._seed, slot, generation)},
            counts=self.counts,
            note=lambda what: self._note(name, what),
        )
        return Space(name=name, uid=uid, owner=owner, model=model)

    async def _restore_elsewhere(self, space: Space) -> None:
        """The latest backup of a Space is restored into a new namespace."""
        newest = {(b.live["kind"], b.live["metadata"]["name"]): b for b in space.owner.backups}
        if not newest:
            raise NotNowError("no backup")
        if len(self._guests) >= 2:
            raise NotNowError("guests enough")
        slot = self._spaces.index(space)
        self._generation[slot] += 1
        guest = await self._namespace(f"{space.name}-r{self._generation[slot]}", slot, 0)
        self._guests.append(guest)
        for backup in newest.values():
            await guest.owner.restore(backup)
        self.counts["restores: namespaces from backups"] += 1

    # -- what is seen meanwhile ------------------------------------------------------------------

    async def _watch_records(self) -> None:
        """Count sleeps and wakes, and see that no number of a sleep is used twice; for ever."""
        while True:
            await asyncio.sleep(0.7)
            try:
                records = await self._api.items(RECORDS)
            except ApiError:
                continue
            present = {record["metadata"]["uid"]: record for record in records}
            for uid, record in present.items():
                self._count_record(uid, record)
            for uid in self._seen.keys() - present.keys():
                if self._seen.pop(uid) in {"Asleep", "Waking"}:
                    self.counts["wakes"] += 1
            await self._orphaned(present)

    def _count_record(self, uid: str, record: Json) -> None:
        phase = record.get("status", {}).get("phase", "none")
        last = self._seen.get(uid)
        if last is None:
            self.counts["sleeps begun"] += 1
            spec = record["spec"]
            before = self._epochs.setdefault((spec["spaceUID"], spec["epoch"]), uid)
            assert self._siege is not None
            if before != uid and spec["spaceUID"] not in self._siege.disturbed:
                message = f"sleep number {spec['epoch']} of {spec['spaceName']} was begun twice"
                self._fail(-1, None, [message])
        if phase == "Asleep" != last:
            self.counts["sleeps"] += 1
        self._seen[uid] = "Asleep" if last == "Asleep" else phase

    async def _orphaned(self, present: dict[str, Json]) -> None:
        """Records whose namespace has been gone for long."""
        alive = {space.uid for space in (*self._spaces, *self._guests)}
        orphans = {
            uid: record
            for uid, record in present.items()
            if record["spec"]["spaceUID"] not in alive
        }
        now = time.monotonic()
        self._orphans = {uid: self._orphans.get(uid, now) for uid in orphans}
        for uid, since in self._orphans.items():
            if since + _ORPHANED_SECONDS < now:
                self._orphans[uid] = now + 100_000
                name = orphans[uid]["spec"]["spaceName"]
                self._fail(
                    -1, None, [f"left: a record of {name}, which is gone, after two minutes"]
                )

    # -- told ------------------------------------------------------------------------------------

    def _note(self, space: str, what: str) -> None:
        line = f"{datetime.now(UTC):%H:%M:%S.%f} {shorten(what, _LINE_CHARACTERS)}"
        for one in (*self._spaces, *self._guests):
            if space in {"", one.name}:
                one.history.append(line)
        self._faults.append(f"{line} [{space}]")

    def _fail(self, number: int, space: Space | None, complaints: list[str]) -> None:
        name = "" if space is None else space.name
        self.failures.append(Failure(episode=number, space=name, complaints=tuple(complaints)))
        self.counts["failures"] += 1
        self._say(f"FAILURE in episode {number}, {name}: " + "\n  ".join(complaints))

    async def _write_down(self, space: Space, sight: Sight, complaints: list[str]) -> None:
        """Everything that a test of this failure would need."""
        directory = self._out / f"{len(self.failures):02}-{space.name}"
        directory.mkdir(parents=True, exist_ok=True)
        assert self._siege is not None
        story = [f"seed {self._seed}", *complaints, "", *space.history]
        (directory / "story.txt").write_text("\n".join(story) + "\n")
        state: dict[str, Any] = {
            "namespace": sight.namespace,
            "workloads": list(sight.workloads.values()),
            "pods": sight.pods,
            "claims": sight.claims,
            "records": sight.records,
            "wills": {"/".join(key): repr(will) for key, will in space.model.wills.items()},
        }
        (directory / "state.json").write_text(json.dumps(state, indent=1))
        events = await self._api.items(f"/apis/events.k8s.io/v1/namespaces/{space.name}/events")
        lines = [
            f"{event.get('eventTime')} {event.get('reason')} {event.get('note')}"
            for event in events
            if "sleeper" in str(event.get("reportingController"))
        ]
        (directory / "events.txt").write_text("\n".join(lines) + "\n")
        for which, replica in enumerate(self._siege.replicas):
            log = [line for line in replica.daemon.log.splitlines()[-4000:] if space.name in line]
            (directory / f"replica-{which}.log").write_text("\n".join(log[-400:]) + "\n")
            seen = await replica.proxy.writes(path=f"{space.name}|{space.uid}|sleeprecords([?]|$)")
            requests = [
                f"{datetime.fromtimestamp(one.at, UTC):%H:%M:%S.%f} {one.method} {one.target} "
                f"{one.status} {one.fault}"
                for one in seen[-300:]
            ]
            (directory / f"writes-{which}.txt").write_text("\n".join(requests) + "\n")
            try:
                told = await replica.daemon.get_json(f"/api/v1/spaces/{space.name}")
                (directory / f"explain-{which}.json").write_text(json.dumps(told, indent=1))
            except Exception as error:  # the story is worth more than this
                (directory / f"explain-{which}.json").write_text(repr(error))

    def _progress(self, number: int) -> None:
        minutes = (time.monotonic() - self._began) / 60
        shown = ("owner's acts", "sleeps", "wakes", "kills", "pauses", "late writes")
        counted = ", ".join(f"{self.counts[name]} {name}" for name in shown)
        judged = self.counts["judgements awake"] + self.counts["judgements asleep"]
        self._say(
            f"{minutes:5.1f} min, episode {number}: {counted}, "
            f"{judged} judgements, {len(self.failures)} failures"
        )

    def _merge_counts(self) -> None:
        for space in (*self._spaces, *self._guests):
            self.counts.update(space.model.counts)
            space.model.counts.clear()
