"""What whoever may edit a namespace can make long or many costs little, and is still told.

Costs are counted and not timed. What must be looked at as a whole may cost as much as there is of
it, and no more: four times as much for four times as many.
"""

from __future__ import annotations

import difflib
from typing import Any

import pytest

from sleeper.core import policy as policy_module
from sleeper.core.names import ANNOTATIONS, Target
from sleeper.core.objects import SpaceObjects
from sleeper.core.policy import LONGEST_READ, MOST_UNKNOWN, PolicyDefaults, read_policy
from sleeper.core.workload_warnings import MOST_OBJECTS, workload_warnings
from tests.core.test_hazards import space, thing
from tests.core.values import policy

MANY = 12_000
HUGE = "9" * 250_000
"""Nearly all that the API server lets stand in the annotations of one object."""

OWNERS_KEYS = [
    spec.key.removeprefix("sleeper.dev/")
    for spec in ANNOTATIONS
    if not spec.by_us and Target.NAMESPACE in spec.targets and spec.form != "any text"
]


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is compared with the keys that are known, as it is."""
    searched: list[str] = []

    def search(word: str, *args: Any, **options: Any) -> list[str]:
        searched.append(word)
        return difflib.get_close_matches(word, *args, **options)

    monkeypatch.setattr(policy_module, "get_close_matches", search)
    return searched


def misspelt(many: int) -> dict[str, str]:
    return {f"sleeper.dev/excluded-{number:05}": "true" for number in range(many)}


def deployments(many: int, annotations: dict[str, str]) -> SpaceObjects:
    return space(
        deployments=[thing(f"web-{number}", annotations=annotations) for number in range(many)]
    )


@pytest.mark.fault(15)
def test_of_many_keys_that_are_not_known_a_few_are_looked_at_and_the_others_counted(
    searches: list[str],
) -> None:
    notes = workload_warnings(deployments(1, misspelt(MANY)))
    assert len(searches) == len(notes) == MOST_UNKNOWN
    assert str(notes[-1]).endswith(
        f"; {MANY - MOST_UNKNOWN} more keys are not known and were not looked at"
    )
    searches.clear()
    warnings = read_policy(misspelt(MANY), PolicyDefaults(), has_routes=False).warnings
    assert len(searches) == len(warnings) == MOST_UNKNOWN
    assert f"{MANY - MOST_UNKNOWN} more keys" in str(warnings[-1])


def test_a_known_key_is_read_however_many_stand_beside_it() -> None:
    crowd = {key.removeprefix("sleeper.dev/"): value for key, value in misspelt(MANY).items()}
    assert policy({**crowd, "keep-awake-until": "never"}).problems
    objects = deployments(1, {**misspelt(MANY), "sleeper.dev/wave": "first"})
    assert "sleeper.dev/wave: 'first'" in str(workload_warnings(objects)[0])


@pytest.mark.fault(15)
def test_of_many_objects_with_such_keys_a_few_are_named_and_the_others_counted() -> None:
    notes = workload_warnings(deployments(500, misspelt(1)))
    assert len({note.on for note in notes}) == MOST_OBJECTS
    assert str(notes[-1]).endswith(f"; {500 - MOST_OBJECTS} more objects carry annotations in vain")


@pytest.mark.fault(15)
@pytest.mark.parametrize("key", OWNERS_KEYS)
def test_a_value_that_is_longer_than_any_is_not_read_and_holds(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    for name in ("parse_duration", "parse_instant", "_hours", "ZoneInfo", "read_flag"):
        monkeypatch.setattr(policy_module, name, read.append)
    (problem,) = policy({key: HUGE}).problems
    assert read == []
    assert f"it is longer than {LONGEST_READ} characters" in str(problem)
    assert len(str(problem)) < 500


@pytest.mark.parametrize("key", ["exclude", "wave"])
def test_a_value_on_a_workload_that_is_longer_than_any_is_told_shortly(key: str) -> None:
    (note,) = workload_warnings(deployments(1, {f"sleeper.dev/{key}": HUGE}))
    assert "cannot be read" in str(note)
    assert len(str(note)) < 500
