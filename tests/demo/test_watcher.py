"""The demo's judge does not take not seeing for seeing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from demo.watcher import StoryError, Watcher

KUBECTL = """#!/bin/sh
[ -e {there} ] || {{ echo "connection refused" >&2; exit 1; }}
echo '{{"items": []}}'
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for kubectl that answers for as long as this file is there."""
    there = tmp_path / "there"
    there.touch()
    program = tmp_path / "kubectl"
    program.write_text(KUBECTL.format(there=there))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return there


@pytest.fixture
def watcher(server: Path) -> Iterator[Watcher]:
    watcher = Watcher("kubeconfig", ("space",), patience=2.5)
    watcher.start()
    yield watcher
    watcher.stop()


def test_a_watcher_that_went_blind_does_not_say_that_nothing_changed(
    watcher: Watcher, server: Path
) -> None:
    server.unlink()
    with pytest.raises(StoryError, match=r"the watcher is blind since .* s: connection refused"):
        watcher.insist("it stays up", lambda _: True, seconds=20)


def test_a_look_that_fails_is_tried_again(watcher: Watcher, server: Path) -> None:
    server.unlink()
    watcher.insist("it stays up", lambda _: True, seconds=1.5)
    server.touch()
    watcher.insist("it stays up", lambda _: True, seconds=3)
