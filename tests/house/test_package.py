"""The distribution is whole, and nothing of a developer's machine is in it."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("sleeper", "billing", "metrics")
LOCKS = ("runtime.lock", "dev.lock", "go.lock")

MACHINE = re.compile(r"/(?:home|root|Users|work|mnt)/[A-Za-z0-9_.-]+")
INDEX = re.compile(r"--(?:extra-)?index-url|--find-links|--trusted-host|\bGOPROXY=\S")


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return [path for path in paths if path.is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The distribution, built anew."""
    directory = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (path,) = directory.glob("sleeper-*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


def test_the_wheel_holds_the_three_packages_and_the_license(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert {name.split("/")[0] for name in names if not name.startswith("sleeper-")} == set(
        PACKAGES
    )
    assert all(f"{package}/py.typed" in names for package in PACKAGES)
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert "sleeper/store/migrations/script.py.mako" in names


def test_the_wheel_installs_both_names_of_the_program(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    points = configparser.ConfigParser()
    points.read_string(wheel.read(name).decode())
    assert dict(points["console_scripts"]) == {
        "sleeper": "sleeper.cli:main",
        "kubectl-sleeper": "sleeper.cli:main",
    }


def test_the_license_is_the_whole_apache_license() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_no_tracked_file_names_a_path_of_somebodys_machine() -> None:
    own = Path(__file__).resolve()
    offenders = [
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in tracked()
        if path != own and (found := MACHINE.findall(path.read_text(errors="ignore")))
    ]
    assert offenders == []


def test_no_lock_or_build_file_names_a_registry() -> None:
    files = [ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / ".ci" / "run"]
    files += [ROOT / "deploy" / "requirements" / name for name in LOCKS]
    for path in files:
        assert not INDEX.search(path.read_text()), path.name
    for name in LOCKS:
        assert "://" not in (ROOT / "deploy" / "requirements" / name).read_text(), name


def test_every_package_says_what_belongs_in_it() -> None:
    missing = [
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert missing == []


def test_tests_are_regular_packages_everywhere() -> None:
    directories = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    assert [d for d in directories if not (d / "__init__.py").exists()] == []
