"""``make demo KEEP=1`` ends in a shell, so it is refused where there is no terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("keep", ["1", ""])
def test_without_a_terminal_a_demo_that_ends_in_a_shell_is_refused_before_it_begins(
    keep: str,
) -> None:
    """Without a cluster either ends at once, for different reasons."""
    ran = subprocess.run(
        [sys.executable, "-m", "demo"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT / 'deploy'}:{ROOT / 'deploy/devcluster'}",
            "KEEP": keep,
        },
    )
    assert ran.returncode == 1
    assert ("needs a terminal" in ran.stderr.replace("\n", " ")) is bool(keep)
    assert ("needs the development cluster" in ran.stderr) is not bool(keep)
