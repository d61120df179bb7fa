"""Our keys as labels on a namespace: told, and without effect."""

from __future__ import annotations

import pytest

from sleeper.control.readings import Readings
from sleeper.core.objects import Metadata, Namespace
from sleeper.core.policy import PolicyDefaults


def namespace(labels: dict[str, str], annotations: dict[str, str] | None = None) -> Namespace:
    given = {"sleeper.dev/tenant": "acme", "kubernetes.io/metadata.name": "shop", **labels}
    return Namespace(
        metadata=Metadata(
            name="shop", uid="u", resource_version="7", labels=given, annotations=annotations
        )
    )


def said(seen: Namespace) -> list[str]:
    readings = Readings(PolicyDefaults())
    reading = readings.policy(seen, has_routes=False)
    assert readings.policy(seen, has_routes=False) is reading, "read once a version"
    assert reading.problems == ()
    assert (
        reading.policy == Readings(PolicyDefaults()).policy(namespace({}), has_routes=False).policy
    )
    return [str(note) for note in reading.warnings]


def test_a_policy_in_labels_is_named_and_holds_nothing() -> None:
    assert said(namespace({"sleeper.dev/sleep-after": "8h"})) == [
        "sleeper.dev/sleep-after: '8h' is a label and has no effect; it belongs in the annotations"
    ]


@pytest.mark.parametrize("key", ["sleeper.dev/tenant", "sleeper.dev/space-uid", "example.com/x"])
def test_labels_that_are_labels_are_passed_over(key: str) -> None:
    assert said(namespace({key: "acme"})) == []
