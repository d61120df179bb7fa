"""A stand-in for kubectl that answers with what a test wants the watcher to see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

Item = dict[str, Any]

KUBECTL = """#!/bin/sh
cd "$(readlink {directory}/script)"
look=$(cat next)
[ -e "$look" ] || {{ echo "connection refused" >&2; exit 1; }}
cat "$look"
[ ! -e $((look + 1)) ] || echo $((look + 1)) > next
"""


class Script:
    """What kubectl finds, look after look; the last look is repeated for ever."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._count = 0

    def shows(self, *looks: Sequence[Item]) -> None:
        """Answer the next calls with these objects, one look each; with none, refuse to."""
        # A directory each: a call that is under way goes on with the script that it began with.
        self._count += 1
        script = self._directory / f"script-{self._count}"
        script.mkdir()
        for number, items in enumerate(looks):
            (script / str(number)).write_text(json.dumps({"items": items}))
        (script / "next").write_text("0")
        link = self._directory / "new"
        link.symlink_to(script)
        link.rename(self._directory / "script")

    def refuses(self) -> None:
        """Answer no more."""
        self.shows()


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """The stand-in, first on the PATH; until it is told otherwise it finds an empty cluster."""
    program = tmp_path / "kubectl"
    program.write_text(KUBECTL.format(directory=tmp_path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    script = Script(tmp_path)
    script.shows([])
    return script
