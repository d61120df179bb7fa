"""People and robots, each with an identity of its own, each doing one thing over and over."""

from __future__ import annotations

import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from demo.watcher import StoryError


class Actor:
    """Does something every few seconds until it is told to stop; a failed try is just tried again.

    What comes of it is not its own to judge: the watcher does that. But a scene that says who was
    there is worth nothing if that one never got through: see :func:`at_work`.

    Attributes:
        name: who does what, for a person.
        successes: how often it got through so far.
    """

    def __init__(self, name: str, act: Callable[[], object], *, every_seconds: float) -> None:
        self.name = name
        self.successes = 0
        self._act = act
        self._every = every_seconds
        self._got_through_at = time.monotonic()
        self._failure = "it never tried"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop for good."""
        self._stop.set()
        self._thread.join()

    @property
    def silent_seconds(self) -> float:
        """Since when it has not got through."""
        return time.monotonic() - self._got_through_at

    @property
    def failure(self) -> str:
        """Why its last failed try failed."""
        return self._failure

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._act()
            except (OSError, subprocess.SubprocessError) as error:
                self._failure = str(getattr(error, "stderr", None) or error).strip()
            else:
                self._got_through_at = time.monotonic()
                self.successes += 1
            self._stop.wait(self._every)


@contextmanager
def at_work(*actors: Actor, within_seconds: float) -> Iterator[None]:
    """A scene that proves something only if ``actors`` are at it, up to its end.

    Raises:
        StoryError: at the end one of them had not got through since the scene began, or not within
            the last ``within_seconds``.
    """
    before = {actor: actor.successes for actor in actors}
    yield
    for actor, count in before.items():
        if actor.successes == count or actor.silent_seconds > within_seconds:
            raise StoryError(
                f"{actor.name} got through {actor.successes - count} times in this scene, "
                f"the last time {actor.silent_seconds:.0f} s ago: {actor.failure}"
            )


def kubectl(kubeconfig: str, *arguments: str, stdin: str | None = None) -> str:
    """Run kubectl as somebody; returns what it printed.

    Raises:
        subprocess.CalledProcessError: it failed; ``stderr`` says why.
    """
    return subprocess.run(
        ["kubectl", f"--kubeconfig={kubeconfig}", *arguments],
        check=True,
        capture_output=True,
        text=True,
        input=stdin,
        timeout=30,
    ).stdout


def polls(kubeconfig: str, namespace: str, *, every_seconds: float = 3.0) -> Actor:
    """Somebody who looks at the Pods of a namespace again and again."""
    return Actor(
        f"kubectl get pods in {namespace}",
        lambda: kubectl(kubeconfig, "--namespace", namespace, "get", "pods"),
        every_seconds=every_seconds,
    )


def visits(ingress_url: str, host: str, *, every_seconds: float = 1.0) -> Actor:
    """A customer who opens a page through the ingress controller again and again."""
    return Actor(
        f"the visitor of {host}", lambda: visit(ingress_url, host), every_seconds=every_seconds
    )


def visit(ingress_url: str, host: str) -> None:
    """One request through the ingress controller.

    Raises:
        OSError: no answer, or one that says that it went wrong.
    """
    request = urllib.request.Request(ingress_url, headers={"Host": host})
    with urllib.request.urlopen(request, timeout=5):
        pass
