"""Every way of dying, at every write, with every word of an owner in between.

Against the model of the API server in memory, so thousands in a minute. What must be true then is
asked of the same model of the owners' will as in the walk.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.kube.errors import KubeError, OutcomeUnknown
from tests.control.deck import (
    IDLE,
    SLEEP_WRITES,
    SPACE,
    WAKE_WRITES,
    Killed,
    after_effect,
    before_effect,
    flights,
    model,
    settle,
    strike,
    until_dead,
    workload,
)
from tests.siege.model import Json, Key, Sight, SpaceModel, Word, replicas_of
from tests.support.modelapi import ModelApi

Write = Callable[[], Any]
WEB: Final = ("Deployment", "web")
DB: Final = ("StatefulSet", "db")
_TEMPLATE: Final = {
    "metadata": {"annotations": {"devcluster.sleeper.dev/start-after": "0s"}},
    "spec": {"containers": [{"name": "app", "image": "app:1"}]},
}
_WHEN_SCALED: Final = ("spec", "persistentVolumeClaimRetentionPolicy", "whenScaled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One way of dying.

    Attributes:
        flight: which flight dies: of falling asleep or of waking.
        number: at which of its writes.
        how: in which way.
        said: what an owner says then.
        again: at which write the next process dies; None: it does not.
        late: the owner speaks only when all is over, before what was held back lands.
    """

    flight: PowerState
    number: int
    how: str
    said: str
    again: int | None
    late: bool

    def __str__(self) -> str:
        when = "when it was over" if self.late else "then"
        again = "" if self.again is None else f", and the next process at its write {self.again}"
        return f"{self.flight.value}: {self.how} at write {self.number}{again}; {when} {self.said}"


def _lost(write: Write) -> Any:
    write()
    raise OutcomeUnknown("the connection was lost")


def _unsent(_write: Write) -> Any:
    raise OutcomeUnknown("the connection was lost")


def _scale(replicas: int) -> Callable[[ModelApi, SpaceModel], None]:
    def say(api: ModelApi, will: SpaceModel) -> None:
        before = copy.deepcopy(api.objects[WEB])
        if replicas_of(before) != replicas:
            api.scale(*WEB, replicas)
        generation = before["metadata"]["generation"]
        owed = any(
            entry.ref.name == "web" and entry.back_at is None and entry.slept_from != generation
            for record in api.stored.values()
            for entry in record.entries
        )
        after = copy.deepcopy(api.objects[WEB])
        will.wrote(WEB, before, after, Word(replicas=replicas), owed=owed)

    return say


def _apply(key: Key, word: Word) -> Callable[[ModelApi, SpaceModel], None]:
    """Server-side apply of one field: it is theirs from then on, whatever it was."""

    def say(api: ModelApi, will: SpaceModel) -> None:
        before = copy.deepcopy(api.objects[key])
        live = api.objects[key]
        value: Any = word.replicas if word.when_scaled is None else word.when_scaled
        path = ("spec", "replicas") if word.when_scaled is None else _WHEN_SCALED
        here = live
        for name in path[:-1]:
            here = here[name]
        if here.get(path[-1]) != value:
            api._take(live, ["/" + "/".join(path)])
            here[path[-1]] = value
            live["metadata"]["generation"] += 1
        entry = next(
            (
                one
                for one in live["metadata"]["managedFields"]
                if (one["manager"], one["operation"]) == ("kubectl", "Apply")
            ),
            None,
        )
        if entry is None:
            entry = {
                "manager": "kubectl",
                "operation": "Apply",
                "apiVersion": "apps/v1",
                "fieldsType": "FieldsV1",
                "fieldsV1": {},
                "time": "2026-11-21T02:00:00Z",
            }
            live["metadata"]["managedFields"].append(entry)
        fields = entry["fieldsV1"]
        for name in path:
            fields = fields.setdefault(f"f:{name}", {})
        will.wrote(key, before, copy.deepcopy(live), word)

    return say


def _delete(api: ModelApi, will: SpaceModel) -> None:
    del api.objects[WEB]
    will.deleted(WEB)


WORDS: Final[Mapping[str, Callable[[ModelApi, SpaceModel], None]]] = {
    "nothing is said": lambda _api, _will: None,
    "web is scaled to 0": _scale(0),
    "web is scaled to 5": _scale(5),
    "web is applied with 0": _apply(WEB, Word(replicas=0)),
    "db is applied with Retain": _apply(DB, Word(when_scaled="Retain")),
    "web is deleted": _delete,
}
DEATHS: Final[Mapping[str, Callable[[Write], Any] | None]] = {
    "killed before": before_effect,
    "killed after": after_effect,
    "the answer is lost": _lost,
    "it is never sent": _unsent,
    "killed, and it lands when all is over": None,
}


def cases() -> Iterator[Case]:
    """All of them."""
    for flight, writes in (
        (PowerState.FALLING_ASLEEP, SLEEP_WRITES),
        (PowerState.WAKING, WAKE_WRITES),
    ):
        again = (None, *range(writes))
        for number, how, said, then, late in itertools.product(
            range(writes), DEATHS, WORDS, again, (False, True)
        ):
            if late and (DEATHS[how] is not None or said == "nothing is said"):
                continue
            yield Case(flight=flight, number=number, how=how, said=said, again=then, late=late)


async def live_through(case: Case) -> list[str]:
    """What is wrong when all is over; nothing, as it should be."""
    api, will = _space()
    if case.flight is PowerState.WAKING:
        await settle(api, want=PowerState.ASLEEP)
    held: list[Write] = []

    def hold(write: Write) -> Any:
        held.append(write)
        raise Killed

    strike(api, case.number, DEATHS[case.how] or hold)
    await _fly(api, case.flight)
    if not case.late:
        WORDS[case.said](api, will)
    if case.again is not None:
        strike(api, case.again, after_effect)
        await _fly(api, case.flight)
    api.fault = lambda _name, write: write()
    await settle(api, want=PowerState.AWAKE)
    if case.late:
        will.settle(_sight(api))
        WORDS[case.said](api, will)
    for write in held:
        try:
            write()
        except KubeError:
            continue
    if api.stored:  # the record itself was late
        await flights(api).sleep(SPACE, IDLE)
        await settle(api, want=PowerState.AWAKE)
    deck = flights(api)
    if deck.has_late_writes(SPACE.name):
        await deck.undo_late(SPACE.name)
    if api.stored:
        return [f"records are left: {sorted(api.stored)}"]
    return [str(complaint) for complaint in will.complaints(_sight(api), asked=True)]


def run(say: Callable[[str], None]) -> tuple[Counter[str], list[str]]:
    """Go through all of them; what was counted, and what went wrong."""
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    for case in cases():
        try:
            found = asyncio.run(live_through(case))
        except (AssertionError, KubeError) as error:
            found = [f"it does not settle: {error}"]
        counts["deaths at every write"] += 1
        if found:
            counts["failures"] += 1
            wrong.append(f"{case}: {'; '.join(found)}")
            say(f"FAILURE: {wrong[-1]}")
    return counts, wrong


async def _fly(api: ModelApi, flight: PowerState) -> None:
    deck = flights(api)
    if flight is PowerState.FALLING_ASLEEP:
        await until_dead(deck.sleep(SPACE, IDLE))
    else:
        await until_dead(deck.wake(SPACE.uid, Reason.TOUCHED))


def _space() -> tuple[ModelApi, SpaceModel]:
    api, will = model(), SpaceModel()
    policy = {"whenScaled": "Delete", "whenDeleted": "Retain"}
    for live in (
        workload(*WEB, 3, template=_TEMPLATE),
        workload("Deployment", "off", 0, template=_TEMPLATE),
        workload(*DB, 2, template=_TEMPLATE, persistentVolumeClaimRetentionPolicy=policy),
    ):
        will.created(copy.deepcopy(api.create(live)))
    return api, will


def _sight(api: ModelApi) -> Sight:
    pods: list[Json] = []
    for (_, name), live in api.objects.items():
        pod = {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": live["spec"]["template"]["spec"]["containers"]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }
        pods += [pod] * replicas_of(live)
    namespace = copy.deepcopy(api.namespace)  # what it says is the herald's, who is not here
    namespace["metadata"].setdefault("annotations", {})["sleeper.dev/power-state"] = "Awake"
    return Sight(namespace=namespace, workloads=api.objects, pods=pods, claims={}, records=[])
