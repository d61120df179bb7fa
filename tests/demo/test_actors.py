"""Who is said to be there in a scene of the demo was there, and got through."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from demo.actors import Actor, at_work, kubectl
from demo.watcher import StoryError

from tests.demo.conftest import Script

DEADLINE_SECONDS = 20


class Tries:
    """An act that says when it was tried."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self._tried = threading.Semaphore(0)

    def __call__(self) -> None:
        self._tried.release()
        if self.error is not None:
            raise self.error

    def wait(self, times: int) -> None:
        """Wait until it was tried ``times`` more."""
        for _ in range(times):
            assert self._tried.acquire(timeout=DEADLINE_SECONDS)


def fall_silent(robot: Actor, act: Tries) -> None:
    """A scene in which the robot gets through at first, and not at all in the last 0.05 s."""
    with at_work(robot, within_seconds=0.05):
        act.wait(2)
        act.error = OSError("connection refused")
        act.wait(10)


@contextmanager
def acting(act: Tries) -> Iterator[Actor]:
    with Actor("the robot", act, every_seconds=0.01) as actor:
        yield actor


def test_an_actor_counts_how_often_it_got_through() -> None:
    act = Tries()
    with acting(act) as robot:
        act.wait(3)
    assert robot.successes >= 3


@pytest.mark.parametrize(
    "error",
    [
        OSError("connection refused"),
        subprocess.CalledProcessError(1, "kubectl", stderr="pods is forbidden\n"),
        subprocess.TimeoutExpired("kubectl", 30),
    ],
)
def test_a_failed_try_is_no_success_and_is_tried_again(error: Exception) -> None:
    act = Tries(error)
    with acting(act) as robot:
        act.wait(3)
    assert robot.successes == 0


def test_a_scene_goes_on_with_an_actor_that_gets_through() -> None:
    act = Tries()
    with acting(act) as robot, at_work(robot, within_seconds=DEADLINE_SECONDS):
        act.wait(2)


def test_a_scene_is_worth_nothing_when_its_actor_never_got_through() -> None:
    act = Tries(subprocess.CalledProcessError(1, "kubectl", stderr="pods is forbidden\n"))
    with (
        acting(act) as robot,
        pytest.raises(StoryError, match=r"the robot got through 0 times .*: pods is forbidden"),
        at_work(robot, within_seconds=DEADLINE_SECONDS),
    ):
        act.wait(2)


def test_what_an_actor_did_before_the_scene_does_not_count() -> None:
    act = Tries()
    with acting(act) as robot:
        act.wait(2)
    with (
        pytest.raises(StoryError, match="the robot got through 0 times"),
        at_work(robot, within_seconds=DEADLINE_SECONDS),
    ):
        pass


def test_an_actor_that_fell_silent_before_the_end_of_the_scene_is_missed() -> None:
    act = Tries()
    told = r"got through [1-9]\d* times .*: connection refused"
    with acting(act) as robot, pytest.raises(StoryError, match=told):
        fall_silent(robot, act)


def test_kubectl_that_is_refused_says_why(script: Script) -> None:
    script.refuses()
    with pytest.raises(subprocess.CalledProcessError) as refusal:
        kubectl("kubeconfig", "get", "pods")
    assert "connection refused" in str(refusal.value.stderr)
