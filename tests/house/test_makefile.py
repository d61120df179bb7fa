"""``make setup`` ends with what is needed, below what pip said."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def setup_with(pip: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """``make setup`` where the environment's Python is a script that stands in for pip."""
    python = directory / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{pip}\n")
    python.chmod(0o755)
    return subprocess.run(
        ["make", "--no-print-directory", "setup", f"VENV={directory / 'venv'}"],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")} | {"LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.mark.parametrize(
    ("pip", "said"),
    [
        (
            "echo no network >&2; exit 1",
            "The locked packages could not be installed; pip says why above. It has to reach a "
            "package index: PyPI, or a mirror of it that PIP_INDEX_URL names.",
        ),
        (
            'case "$*" in *--editable*) echo no backend >&2; exit 1;; esac',
            "sleeper itself could not be installed into {venv}; pip says why above. This needs no "
            "package index, only the locked packages: 'make clean setup' begins anew.",
        ),
    ],
    ids=["packages", "editable"],
)
def test_a_failed_setup_says_what_it_needs_after_pips_own_words(
    tmp_path: Path, pip: str, said: str
) -> None:
    ran = setup_with(pip, tmp_path)
    assert ran.returncode != 0
    own_words, sentence, of_make = ran.stderr.splitlines()
    assert own_words in {"no network", "no backend"}
    assert sentence == said.format(venv=tmp_path / "venv")
    assert "Error 1" in of_make
    assert not (tmp_path / "venv" / ".installed").exists()


def test_a_setup_that_works_is_not_repeated(tmp_path: Path) -> None:
    ran = setup_with("exit 0", tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert (tmp_path / "venv" / ".installed").exists()
