"""Each layering contract holds on the tree, and breaks on a planted violation."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("sleeper", "billing", "metrics")

IMPORT_VIOLATIONS = [
    ("L1: sleeper over billing over metrics", "metrics/core/refs.py", "import billing.store"),
    ("L1: layers within sleeper", "sleeper/store/engine.py", "import sleeper.control.book"),
    ("L1: layers within sleeper", "sleeper/kube/client.py", "import sleeper.store.engine"),
    ("L2: cores are pure", "metrics/core/refs.py", "import asyncio"),
    ("L2: cores are pure", "billing/core/periods.py", "import sqlalchemy"),
    ("L2: cores are pure", "sleeper/core/verdict.py", "import time"),
    (
        "L3: only sleeper.kube speaks kubernetes_asyncio",
        "sleeper/control/book.py",
        "import kubernetes_asyncio",
    ),
    (
        "L3: only sleeper.kube speaks kubernetes_asyncio",
        "sleeper/daemon.py",
        "import kubernetes_asyncio",
    ),
    ("L3: only stores speak SQL", "sleeper/api/read.py", "import sqlalchemy"),
    ("L3: only stores speak SQL", "sleeper/control/book.py", "import sqlalchemy"),
    ("L3: only stores speak SQL", "billing/core/periods.py", "import aiosqlite"),
    (
        "L3: only metrics.sources.prometheus speaks to Prometheus' client library",
        "metrics/sources/queries.py",
        "import prometheus_api_client",
    ),
    (
        "L3: only sleeper.control.jobs schedules with APScheduler",
        "sleeper/control/loop.py",
        "import apscheduler",
    ),
    (
        "L3: only metrics.instruments declares metrics",
        "sleeper/api/app.py",
        "import prometheus_client",
    ),
]

LINT_VIOLATIONS = [
    ("DTZ", "from datetime import datetime\n\nNOW = datetime.now()\n"),
    ("TID251", "from datetime import UTC, datetime\n\nNOW = datetime.now(UTC)\n"),
    ("TID251", "import time\n\nNOW = time.time()\n"),
    ("TID251", "import time\n\nNOW = time.monotonic()\n"),
    ("TID251", "import random\n\nDICE = random.random()\n"),
    ("TID251", "import asyncio\n\nrun = asyncio.gather\n"),
    ("TID251", "import asyncio\n\nrun = asyncio.create_task\n"),
    ("TID251", "import asyncio\n\nrun = asyncio.wait_for\n"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the packages with the rules."""
    for package in PACKAGES:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint_imports(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=directory,
        env={"PYTHONPATH": str(directory), "PATH": "/usr/bin:/bin", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_tree_keeps_every_contract(tree: Path) -> None:
    ran = lint_imports(tree)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_violation_of_every_contract_is_planted() -> None:
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    contracts = {contract["name"] for contract in rules["contracts"]}
    assert contracts == {contract for contract, _, _ in IMPORT_VIOLATIONS}


@pytest.mark.parametrize(("contract", "module", "line"), IMPORT_VIOLATIONS)
def test_a_planted_import_breaks_its_contract(
    tree: Path, contract: str, module: str, line: str
) -> None:
    path = tree / module
    path.write_text(f"{path.read_text()}\n{line}\n")
    ran = lint_imports(tree)
    assert ran.returncode == 1
    assert f"{contract} BROKEN" in ran.stdout


@pytest.mark.parametrize(("rule", "text"), LINT_VIOLATIONS)
def test_a_planted_reading_of_time_or_stray_task_is_refused(
    tree: Path, rule: str, text: str
) -> None:
    (tree / "sleeper" / "planted.py").write_text(f'"""Planted."""\n\n{text}')
    ran = subprocess.run(
        [Path(sys.executable).with_name("ruff"), "check", "--no-cache", "sleeper/planted.py"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert rule in ran.stdout
