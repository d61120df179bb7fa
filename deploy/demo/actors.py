"""People and robots, each with an identity of its own, each doing one thing over and over."""

from __future__ import annotations

import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Actor:
    """Does something every few seconds until it is told to stop; a failed try is just tried again.

    What an actor achieves is not its own to judge: the watcher does that.
    """

    def __init__(self, act: Callable[[], object], *, every_seconds: float) -> None:
        self._act = act
        self._every = every_seconds
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

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._act()
            except (OSError, subprocess.SubprocessError):
                continue
            finally:
                self._stop.wait(self._every)


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
        lambda: kubectl(kubeconfig, "--namespace", namespace, "get", "pods"),
        every_seconds=every_seconds,
    )


def visits(ingress_url: str, host: str, *, every_seconds: float = 1.0) -> Actor:
    """A customer who opens a page through the ingress controller again and again."""
    return Actor(lambda: visit(ingress_url, host), every_seconds=every_seconds)


def visit(ingress_url: str, host: str) -> int:
    """One request through the ingress controller; returns the status."""
    request = urllib.request.Request(ingress_url, headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
