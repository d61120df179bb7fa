"""What will be done, drawn from the seed alone: the same seed, the same choices. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.siege.acts import Furniture

WAYS: Final = ("scale", "csa", "ssa", "put", "patch")
NAMES: Final = ("web", "api", "db", "slow")
IMAGES: Final = ("1", "2", "3", "4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One act of the owners of a Space.

    Attributes:
        wait: seconds before it.
    """

    wait: float
    act: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        said = ", ".join(f"{k}={v}" for k, v in self.parameters.items() if v is not None)
        return f"{self.act}({said})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One fault; ``slot`` is the Space that it is aimed at."""

    at: float
    fault: str
    parameters: Mapping[str, Any]
    slot: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """What happens until the next judgement.

    Attributes:
        steps: for each slot.
        strikes: faults.
        wakes: for each slot, whether it is judged awake; else as it is.
        retires: slots whose Spaces are replaced by new ones afterwards.
    """

    number: int
    steps: tuple[tuple[Step, ...], ...]
    strikes: tuple[Strike, ...]
    wakes: tuple[bool, ...]
    retires: frozenset[int]


def furniture(seed: str, slot: int, generation: int) -> tuple[Furniture, ...]:
    """How a Space is furnished."""
    dice = random.Random(f"{seed}/furniture/{slot}/{generation}")
    ways = ("ssa", "csa", "create")
    found = [
        Furniture(
            kind="Deployment", name="web", replicas=dice.randint(1, 4), shipped=dice.choice(ways)
        ),
        Furniture(
            kind="Deployment",
            name="api",
            replicas=dice.choice((0, 1, 2)),
            shipped=dice.choice(ways),
            wave=dice.choice((0, 1)),
        ),
        Furniture(
            kind="StatefulSet",
            name="db",
            replicas=dice.randint(1, 3),
            shipped=dice.choice(ways),
            when_scaled=dice.choice(("Delete", "Delete", "Retain")),
        ),
    ]
    if dice.random() < 0.4:
        slow = Furniture(
            kind="Deployment",
            name="slow",
            replicas=1,
            shipped="ssa",
            start_after="8s",
            wave=dice.choice((0, -1)),
        )
        found.append(slow)
    return tuple(found)


def episode(seed: str, number: int, *, slots: int, seconds: float) -> Episode:
    """Draw one."""
    dice = random.Random(f"{seed}/episode/{number}")
    programs = [
        _Program(random.Random(f"{seed}/episode/{number}/{slot}")).drawn(seconds)
        for slot in range(slots)
    ]
    return Episode(
        number=number,
        steps=tuple(programs),
        strikes=_strikes(dice, slots=slots, seconds=seconds),
        wakes=tuple(dice.random() < 0.6 for _ in range(slots)),
        retires=frozenset(slot for slot in range(slots) if dice.random() < 0.06),
    )


class _Program:
    """Draws what the owners of one Space do in one episode."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._steps: list[Step] = []

    def drawn(self, seconds: float) -> tuple[Step, ...]:
        """All of it, which takes about so long."""
        dice = self._dice
        if dice.random() < 0.8:
            self._do("tidy")
        while sum(step.wait + 0.3 for step in self._steps) < seconds:
            self._round()
        if dice.random() < 0.45:
            self._do("sleep")
            for _ in range(dice.choice((0, 1, 2))):
                self._something()
        return tuple(self._steps)

    def _round(self) -> None:
        dice = self._dice
        for _ in range(dice.choice((0, 0, 1, 1, 2))):
            self._something()
        self._do("sleep")
        if dice.random() < 0.7:
            self._do("until", power="Asleep", seconds=6)
        for _ in range(dice.choice((0, 1, 1, 2, 3))):
            self._something()
        if dice.random() < 0.8:
            self._do("wake")
            if dice.random() < 0.5:
                self._do("until", power="Awake", seconds=4)

    def _something(self) -> None:
        acts: list[tuple[int, Callable[[], None]]] = [
            (16, self._say_replicas),
            (10, self._say_when_scaled),
            (8, self._say_image),
            (4, self._say_bad),
            (4, self._say_paused),
            (4, self._say_partition),
            (2, lambda: self._on("canary", image=self._dice.choice(IMAGES))),
            (4, lambda: self._do("undo", of=self._dice.choice(("web", "api")))),
            (3, self._delete),
            (5, lambda: self._on("replace_by_force")),
            (3, lambda: self._on("copy", name=f"copy-{self._dice.randint(1, 2)}")),
            (6, lambda: self._do("back_up")),
            (3, lambda: self._on("restore_backup", back=self._dice.randint(1, 2))),
            (4, lambda: self._on("put_back", back=self._dice.randint(1, 2))),
            (2, lambda: self._do("restore_elsewhere")),
            (4, self._exclude),
            (2, lambda: self._on_and_off("exclude_space")),
            (2, lambda: self._on_and_off("hours")),
            (2, lambda: self._on_and_off("label", first=False)),
            (2, lambda: self._on_and_off("autoscaler", of="web")),
            (5, self._forge),
            (3, self._forge_epoch),
        ]
        weights = [weight for weight, _ in acts]
        self._dice.choices([act for _, act in acts], weights)[0]()

    def _do(self, act: str, *, wait: float | None = None, **parameters: Any) -> None:
        if wait is None:
            low, high = self._dice.choices(((0, 0.3), (0.5, 2), (2, 5)), (5, 4, 1))[0]
            wait = self._dice.uniform(low, high)
        self._steps.append(Step(wait=wait, act=act, parameters=parameters))

    def _on(self, act: str, **parameters: Any) -> None:
        self._do(act, of=self._dice.choices(NAMES, (4, 2, 5, 2))[0], **parameters)

    def _say(self, of: str | None = None, **said: Any) -> None:
        of = of or self._dice.choices(NAMES, (5, 2, 4, 2))[0]
        self._do("say", of=of, how=self._dice.choice(WAYS), **said)

    def _say_replicas(self) -> None:
        self._say(replicas=self._dice.choice((0, 0, 0, 1, 2, 3, 4)))

    def _say_when_scaled(self) -> None:
        both = self._dice.random() < 0.4
        self._say(
            "db",
            when_scaled=self._dice.choice(("Retain", "Retain", "Delete")),
            replicas=self._dice.choice((0, 1, 2)) if both else None,
        )

    def _say_image(self) -> None:
        self._say(image=self._dice.choice(IMAGES))

    def _say_bad(self) -> None:
        self._say(self._dice.choice(("web", "api")), image="bad")

    def _say_paused(self) -> None:
        self._say(self._dice.choice(("web", "api")), image=self._dice.choice(IMAGES), paused=True)
        if self._dice.random() < 0.3:
            self._say("web", paused=False)

    def _say_partition(self) -> None:
        self._say("db", image=self._dice.choice(IMAGES), partition=self._dice.choice((1, 2)))
        if self._dice.random() < 0.3:
            self._say("db", partition=0)

    def _delete(self) -> None:
        of = self._dice.choice(NAMES)
        self._do("delete", of=of)
        self._do("create_again", of=of)

    def _exclude(self) -> None:
        self._on("exclude", on=True)
        if self._dice.random() < 0.5:
            self._on("exclude", on=False)

    def _on_and_off(self, act: str, *, first: bool = True, **parameters: Any) -> None:
        self._do(act, on=first, **parameters)
        if self._dice.random() < 0.7:
            self._do("until", power="Awake", seconds=self._dice.uniform(0, 3))
            self._do(act, on=not first, **parameters)

    def _forge(self) -> None:
        self._on("forge_note", form=self._dice.choice(("none", "garbage", "value", "epoch")))

    def _forge_epoch(self) -> None:
        forged = (None, "0", "-1", "x", "999999999999999", "9007199254740993", "17")
        self._do("forge_epoch", value=self._dice.choice(forged))


def _strikes(dice: random.Random, *, slots: int, seconds: float) -> tuple[Strike, ...]:
    """The faults of an episode: none in some, up to a dozen in others."""
    found = []
    for _ in range(dice.choice((0, 3, 6, 8, 10, 12))):
        at = dice.uniform(0, seconds * 0.7)
        which, slot = dice.randrange(2), dice.randrange(slots)
        skip = dice.randrange(8)
        faults: list[tuple[int, str, dict[str, Any], bool]] = [
            (3, "kill", {"which": which, "seconds": dice.uniform(0, 4)}, False),
            (2, "kill_both", {"seconds": dice.uniform(0, 5)}, False),
            (1, "stop", {"which": which, "seconds": dice.uniform(0, 2)}, False),
            (5, "pause", {"which": which, "seconds": dice.uniform(0.5, 9)}, False),
            (
                6,
                "pause_at_write",
                {"which": which, "skip": skip, "seconds": dice.uniform(1, 9)},
                True,
            ),
            (
                7,
                "kill_at_write",
                {
                    "which": which,
                    "skip": skip,
                    "moment": dice.choice(("before", "after", "answered")),
                    "seconds": dice.uniform(0, 4),
                },
                True,
            ),
            (
                7,
                "hold",
                {
                    "which": which,
                    "skip": skip,
                    "seconds": dice.uniform(1.5, 20),
                    "kill": dice.random() < 0.5,
                },
                True,
            ),
            (
                4,
                "drop",
                {
                    "which": which,
                    "skip": skip,
                    "after": dice.random() < 0.7,
                    "times": dice.choice((1, 1, 3)),
                },
                True,
            ),
            (
                2,
                "slow",
                {"which": which, "seconds": dice.uniform(0.1, 0.9), "length": dice.uniform(2, 8)},
                True,
            ),
            (
                3,
                "refuse",
                {
                    "which": which,
                    "skip": skip,
                    "status": dice.choice((403, 409, 422, 429, 500, 503, 504)),
                    "times": dice.choice((1, 1, 4)),
                },
                True,
            ),
            (2, "cut", {"which": which}, False),
        ]
        _, fault, parameters, aimed = dice.choices(faults, [weight for weight, *_ in faults])[0]
        strike = Strike(at=at, fault=fault, parameters=parameters, slot=slot if aimed else None)
        found.append(strike)
    return tuple(sorted(found, key=lambda strike: strike.at))
