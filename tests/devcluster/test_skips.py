"""A skipped test fails the run unless its reason is allowed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from devcluster.site import PROJECT

SUITE = """
import pytest

def test_runs():
    pass

@pytest.mark.skip(reason="no namespaces here")
def test_is_skipped():
    pass
"""
WHOLE_MODULE = "import pytest\npytest.skip('no such thing', allow_module_level=True)\n"


def _pytest(directory: Path, suite: str, **environ: str) -> subprocess.CompletedProcess[str]:
    (directory / "test_suite.py").write_text(suite)
    environment = {key: value for key, value in os.environ.items() if key != "ALLOW_SKIP"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.support.skips", "-c", os.devnull, directory],
        env={**environment, "PYTHONPATH": str(PROJECT), **environ},
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("suite", [SUITE, WHOLE_MODULE])
def test_a_skip_fails_the_run_and_shows_its_reason(tmp_path: Path, suite: str) -> None:
    run = _pytest(tmp_path, suite)
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout
    assert "skipped tests fail the run" in run.stdout


def test_a_skip_whose_reason_is_allowed_is_fine(tmp_path: Path) -> None:
    run = _pytest(tmp_path, SUITE, ALLOW_SKIP="namespaces")
    assert run.returncode == pytest.ExitCode.OK, run.stdout


def test_allowing_one_reason_allows_no_other(tmp_path: Path) -> None:
    run = _pytest(tmp_path, SUITE, ALLOW_SKIP="^windows$")
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    assert "no namespaces here" in run.stdout


def test_a_run_without_skips_is_green(tmp_path: Path) -> None:
    run = _pytest(tmp_path, "def test_runs(): pass\n")
    assert run.returncode == pytest.ExitCode.OK, run.stdout
