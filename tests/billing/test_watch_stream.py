"""A watch stream over two midnights, a crash and a lost watch, against a naive integrator.

The integrator shares nothing with the meter: it reads the same wire bodies, paints every second
of every Pod into an array, and adds the seconds up one by one.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from billing.core.periods import Grain
from billing.core.statement import GroupBy, Statement, StatementQuery
from metrics.core.refs import SpaceRef
from metrics.recorder import NullRecorder
from sleeper.control.metering import Meter
from sleeper.core.power import PowerState
from sleeper.core.record import FreedRequests
from sleeper.store.engine import Database
from tests.billing.watching import Body, HandClock, WatchedInventory, namespace_body, pod_body

START = int(datetime(2026, 11, 19, 22, 40, 7, tzinfo=UTC).timestamp())
LENGTH = 26 * 3600 + 1234
HOUR = 3600
MILLIS = {"100m": 100, "250m": 250, "1": 1000, "1500m": 1500}
BYTES = {"64Mi": 64 << 20, "1Gi": 1 << 30, "3G": 3 * 10**9, "128Gi": 128 << 30}


@dataclass(frozen=True, slots=True)
class Step:
    """What happens at START + second.

    ``what``: ``pod``, ``gone``, ``namespace``, ``power``; ``crash`` ends the daemon, ``start``
    begins the next with a new list; ``deaf`` ends the Pod watch, ``relist`` begins it anew.
    """

    second: int
    what: str
    body: Body | None = None
    power: PowerState | None = None


def pod(second: int, namespace: str, name: str, **more: object) -> Step:
    if isinstance(more.get("scheduled"), int):
        more["scheduled"] = START + more["scheduled"]  # type: ignore[operator]
    if isinstance(more.get("finished"), int):
        more["finished"] = START + more["finished"]  # type: ignore[operator]
    return Step(second, "pod", pod_body(namespace, name, **more))  # type: ignore[arg-type]


def namespace(second: int, name: str, tenant: str | None) -> Step:
    return Step(second, "namespace", namespace_body(name, tenant))


def gone(step: Step, second: int) -> Step:
    return Step(second, "gone", step.body)


def stream() -> list[Step]:
    """The recording."""
    db = {"cpu": "1500m", "memory": "128Gi"}
    web_small = pod(5, "shop", "web-1", scheduled=3, cpu="100m")
    web_large = pod(2 * HOUR + 17, "shop", "web-1", scheduled=3, cpu="250m", memory="1Gi")
    job = pod(4 * HOUR, "shop", "job", scheduled=4 * HOUR - 2, cpu="1", memory="3G")
    job_done = pod(
        5 * HOUR + 5,
        "shop",
        "job",
        scheduled=4 * HOUR - 2,
        cpu="1",
        memory="3G",
        phase="Succeeded",
        finished=5 * HOUR + 1,
    )
    lost_in_crash = pod(9 * HOUR, "docs", "lost", scheduled=9 * HOUR - 1, cpu="1")
    lost_by_watch = pod(15 * HOUR, "ci", "runner", scheduled=15 * HOUR, cpu="1")
    return [
        namespace(0, "shop", "red"),
        namespace(0, "docs", "red"),
        namespace(0, "ci", "blue"),
        namespace(0, "other", None),
        pod(1, "shop", "web-1"),
        web_small,
        pod(30, "docs", "db-0", scheduled=29, **db),
        pod(31, "other", "not-ours", scheduled=30, cpu="1"),
        Step(40, "power", namespace_body("docs", "red"), PowerState.AWAKE),
        web_large,
        job,
        job_done,
        gone(job_done, 7 * HOUR),
        lost_in_crash,
        # the crash: a Pod goes, one is born, one finishes, a payer changes; docs sleeps on
        gone(pod(0, "docs", "db-0", scheduled=29, **db), 9 * HOUR + 40),
        Step(9 * HOUR + 60, "power", namespace_body("docs", "red"), PowerState.ASLEEP),
        Step(10 * HOUR + 3, "crash"),
        gone(lost_in_crash, 10 * HOUR + 100),
        pod(10 * HOUR + 200, "ci", "born", scheduled=10 * HOUR + 199, cpu="250m"),
        namespace(10 * HOUR + 250, "shop", "green"),
        Step(10 * HOUR + 400, "start"),
        Step(10 * HOUR + 401, "power", namespace_body("docs", "red"), PowerState.ASLEEP),
        namespace(12 * HOUR + 1, "ci", "red"),
        lost_by_watch,
        Step(15 * HOUR + 50, "deaf"),
        gone(lost_by_watch, 15 * HOUR + 70),
        pod(15 * HOUR + 80, "ci", "late", scheduled=15 * HOUR + 79, memory="1Gi"),
        Step(15 * HOUR + 140, "relist"),
        namespace(20 * HOUR, "other", "blue"),
        Step(24 * HOUR + 3, "power", namespace_body("docs", "red"), PowerState.WAKING),
        pod(24 * HOUR + 7, "docs", "db-1", scheduled=24 * HOUR + 5, **db),
        Step(24 * HOUR + 30, "power", namespace_body("docs", "red"), PowerState.AWAKE),
    ]


FREED = FreedRequests(cpu_millis=1500, memory_bytes=128 << 30, pods=1)


class Naive:
    """Second by second: who paid for what."""

    def __init__(self) -> None:
        self.covered = bytearray(b"\1" * LENGTH)
        self._cpu: dict[str, array[int]] = {}
        self._memory: dict[str, array[int]] = {}
        self._namespace_of: dict[str, str] = {}
        self._tenant: dict[str, list[str | None]] = {}
        self._power: dict[str, list[PowerState | None]] = {}
        self._present: dict[str, int] = {}
        self._blind_since: int | None = None

        pending: dict[str, Step] = {}
        for step in stream():
            if step.what in {"crash", "deaf"}:
                self._blind_since = step.second
            elif step.what in {"start", "relist"}:
                self._see_again(step, pending)
            elif self._blind_since is None or (step.what == "namespace" and not pending):
                self._paint(step, step.second)
            else:
                assert step.body is not None
                pending[f"{step.what[0:4]} {step.body['metadata']['uid']}"] = step

    def _see_again(self, restart: Step, pending: dict[str, Step]) -> None:
        since, second = self._blind_since, restart.second
        assert since is not None
        self._blind_since = None
        for at in range(since, second):
            self.covered[at] = 0
        for step in pending.values():
            if step.what == "gone":
                self._paint(step, since)  # surely there until then, unknown after
            else:
                self._paint(step, second)
        if restart.what == "start":  # power states were out of sight too, until said again
            for states in self._power.values():
                states[since:] = [None] * (LENGTH - since)
        pending.clear()

    def _paint(self, step: Step, at: int) -> None:
        assert step.body is not None
        metadata = step.body["metadata"]
        if step.what == "namespace":
            tenant = metadata["labels"].get("sleeper.dev/tenant")
            known = self._tenant.setdefault(metadata["name"], [None] * LENGTH)
            known[at:] = [tenant] * (LENGTH - at)
        elif step.what == "power":
            states = self._power.setdefault(metadata["name"], [None] * LENGTH)
            # asleep before and after with one record: asleep in between
            if states[at] is None and step.power is PowerState.ASLEEP:
                while at > 0 and states[at - 1] is None:
                    at -= 1
            states[at:] = [step.power] * (LENGTH - at)
        else:
            self._paint_pod(step.body, at, gone=step.what == "gone")

    def _paint_pod(self, body: Body, at: int, *, gone: bool) -> None:
        uid = body["metadata"]["uid"]
        self._namespace_of[uid] = body["metadata"]["namespace"]
        first = uid not in self._cpu
        cpu = self._cpu.setdefault(uid, array("q", bytes(8 * LENGTH)))
        memory = self._memory.setdefault(uid, array("q", bytes(8 * LENGTH)))
        requests = body["spec"]["containers"][0]["resources"]["requests"]
        millis, count = MILLIS[requests["cpu"]], BYTES[requests["memory"]]
        conditions = body["status"]["conditions"]
        if gone or not conditions:
            millis = count = 0
        elif first or not any(cpu):
            at = epoch(conditions[0]["lastTransitionTime"]) - START
        terminated = body["status"]["containerStatuses"][0]["state"].get("terminated")
        if terminated:
            at, millis, count = epoch(terminated["finishedAt"]) - START, 0, 0
        cpu[at:] = array("q", [millis]) * (LENGTH - at)
        memory[at:] = array("q", [count]) * (LENGTH - at)

    def seconds(self) -> Iterator[tuple[int, str, str, tuple[int, ...]]]:
        """Second, tenant, Space, figures."""
        for uid, cpu in self._cpu.items():
            name = self._namespace_of[uid]
            tenants, memory = self._tenant[name], self._memory[uid]
            for second in range(LENGTH):
                tenant = tenants[second]
                if cpu[second] and tenant is not None:
                    yield second, tenant, name, (cpu[second], memory[second], 0, 0, 0, 0)
        for name, states in self._power.items():
            for second, state in enumerate(states):
                tenant = self._tenant[name][second]
                if state is not None and tenant is not None:
                    asleep = state is PowerState.ASLEEP
                    freed = (FREED.cpu_millis, FREED.memory_bytes) if asleep else (0, 0)
                    yield second, tenant, name, (0, 0, *freed, int(not asleep), int(asleep))

    def by_minute(self) -> Counter[tuple[int, str, str, int]]:
        """Figures by first second of the minute, tenant, Space and column."""
        sums: Counter[tuple[int, str, str, int]] = Counter()
        for second, tenant, name, figures in self.seconds():
            minute = max(0, second - (START + second) % 60)
            for column, value in enumerate(figures):
                if value:
                    sums[minute, tenant, name, column] += value
        return sums


def epoch(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


@pytest.fixture(scope="module")
def naive() -> Naive:
    return Naive()


async def watch_it_all(database: Database) -> Meter:
    """Feed the stream to meters on one database, ticking every minute; the last of them."""
    clock = HandClock(START)
    objects: dict[str, Body] = {}
    namespaces: dict[str, Body] = {}
    inventory = WatchedInventory(clock)

    def new_meter() -> Meter:
        return Meter(
            inventory=inventory,
            database=database,
            leading=lambda: True,
            clock=clock,
            recorder=NullRecorder(),
        )

    first = new_meter()
    await first.tick()
    meter: Meter | None = first
    deaf = False
    asleep_since: datetime | None = None
    for step in [*stream(), Step(LENGTH, "end")]:
        while clock.at < START + step.second:
            clock.move_to(min(START + step.second, (clock.at // 60 + 1) * 60))
            if meter is not None:
                if not deaf:
                    inventory.alive()
                await meter.tick()
        body = step.body
        match step.what:
            case "pod" | "gone":
                assert body is not None
                deleted = step.what == "gone"
                objects[body["metadata"]["uid"]] = body
                if deleted:
                    del objects[body["metadata"]["uid"]]
                if meter is not None and not deaf:
                    inventory.pod(body, deleted=deleted)
            case "namespace":
                assert body is not None
                namespaces[body["metadata"]["name"]] = body
                if meter is not None:
                    inventory.namespace(body)
            case "power":
                assert meter is not None
                assert body is not None
                assert step.power is not None
                name = body["metadata"]["name"]
                space = SpaceRef(uid=f"uid-{name}", name=name, tenant="red")
                since = clock.now()
                if step.power is PowerState.ASLEEP:
                    since = asleep_since = asleep_since or since  # as its record says
                meter.power_changed(space, step.power, since, FREED)
            case "crash":
                meter = None
            case "start":
                inventory = WatchedInventory(clock)
                for each in namespaces.values():
                    inventory.namespace(each)
                inventory.relist(objects.values())
                meter = new_meter()
                await meter.tick()
            case "deaf":
                deaf = True
            case "relist":
                deaf = False
                inventory.relist(objects.values())
    assert meter is not None
    inventory.alive()
    await meter.tick()
    return meter


@pytest.fixture
async def meter_after_all(tmp_path: Path) -> AsyncIterator[Meter]:
    async with await Database.open(f"sqlite+aiosqlite:///{tmp_path}/sleeper.db") as database:
        yield await watch_it_all(database)


FORMATS = {Grain.MINUTE: "%Y-%m-%d %H:%M", Grain.HOUR: "%Y-%m-%d %H", Grain.DAY: "%Y-%m-%d"}


def figures(statement: Statement, form: str) -> Counter[tuple[str, str, str, int]]:
    """Figures by label of the period, tenant, Space and column."""
    sums: Counter[tuple[str, str, str, int]] = Counter()
    for line in statement.lines:
        label = datetime.fromtimestamp(line.period.start, statement.query.zone).strftime(form)
        for column, value in enumerate(astuple(line.amounts)):
            sums[label, line.tenant, line.space_name or "", column] += value
    return +sums


async def test_minutes_hours_and_days_equal_a_naive_integrator_to_the_unit(
    meter_after_all: Meter, naive: Naive
) -> None:
    by_minute = naive.by_minute()
    for zone, grain, by in product((ZoneInfo("UTC"), ZoneInfo("Asia/Kolkata")), Grain, GroupBy):
        expected: Counter[tuple[str, str, str, int]] = Counter()
        for (second, tenant, name, column), value in by_minute.items():
            label = datetime.fromtimestamp(START + second, zone).strftime(FORMATS[grain])
            expected[label, tenant, name if by is GroupBy.SPACE else "", column] += value
        query = StatementQuery(since=START, until=START + LENGTH, grain=grain, by=by, zone=zone)
        statement = await meter_after_all.statement(query)
        assert figures(statement, FORMATS[grain]) == expected
        assert statement.covered_seconds == sum(naive.covered)
