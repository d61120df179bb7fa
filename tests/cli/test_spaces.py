"""What ``sleeper spaces`` knows of a Space's policy, with the daemon's word and without."""

from __future__ import annotations

from typing import Any

import pytest

from sleeper.cli.spaces import _row, _shown
from sleeper.core.names import LABEL_TENANT
from sleeper.core.objects import Metadata, Namespace

TOLD: dict[str, Any] = {"value": "8h", "source": "configuration", "refused": None, "decided": True}


def space(**annotations: str) -> Namespace:
    ours = {f"sleeper.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    labels = {LABEL_TENANT: "acme"}
    return Namespace(metadata=Metadata(name="shop", uid="u", labels=labels, annotations=ours))


def shown(namespace: Namespace, told: dict[str, Any] | None = None) -> str:
    return _shown(_row(namespace, {} if told is None else told)["sleep_after"])


@pytest.mark.fault(19)
def test_what_no_annotation_says_is_known_from_the_daemon_alone() -> None:
    assert shown(space()) == "?"
    assert shown(space(), {"u": {"sleep_after": TOLD}}) == "8h (configuration)"


def test_an_annotation_that_can_be_read_holds_whatever_the_daemon_has_to_say() -> None:
    assert shown(space(sleep_after="2h")) == "2h (annotation)"


def test_an_annotation_that_cannot_be_read_does_not_hold() -> None:
    assert shown(space(sleep_after="soon")) == "?"
    refused = _row(space(sleep_after="soon"), {})["sleep_after"]["refused"]
    assert "sleeper.dev/sleep-after: 'soon' cannot be read" in refused
    told = {"u": {"sleep_after": TOLD | {"refused": "the annotation 'soon' cannot be read"}}}
    assert shown(space(sleep_after="soon"), told) == (
        "8h (configuration; its annotation cannot be read)"
    )


def test_a_daemon_of_another_cluster_knows_nothing_of_a_space_of_the_same_name() -> None:
    assert shown(space(), {"of-another-cluster": {"sleep_after": TOLD}}) == "?"


@pytest.mark.parametrize("said", [{}, {"sleep_after": None}, {"sleep_after": {}}])
def test_what_a_daemon_of_another_version_says_is_not_relied_on(said: dict[str, Any]) -> None:
    assert shown(space(), {"u": said}) == "?"
