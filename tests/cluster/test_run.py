"""``deploy/devcluster/run`` from outside: it gives a cluster, and leaves nothing behind.

These start clusters of their own, inside the one that the tests run in.
"""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest
from devcluster.site import DEVCLUSTER, PROJECT

from tests.support.eventually import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("cluster")]

RUN = DEVCLUSTER / "run"

COMMAND = """
import os, signal, subprocess, sys, time

def on_signal(number, frame):
    # Whoever is told to stop finds its cluster still there.
    seen = subprocess.run(["kubectl", "get", "namespaces", "-o", "name"],
                          capture_output=True, text=True, start_new_session=True)
    print("end", seen.stdout.split(), flush=True)
    sys.exit(7)

signal.signal(signal.SIGTERM, on_signal)
signal.signal(signal.SIGINT, on_signal)
subprocess.run(["kubectl", "create", "namespace", sys.argv[1]], check=True)
print("directory", os.environ["DEVCLUSTER_DIR"], flush=True)
while True:
    time.sleep(1)
"""


class Running:
    """A runner, and the processes that hang from it."""

    def __init__(
        self, tmp_path: Path, name: str, *, options: Sequence[str] = (), **environ: str
    ) -> None:
        script = tmp_path / "command.py"
        script.write_text(COMMAND)
        self.name = name
        self._errors = tmp_path / f"{name}.err"
        with self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                [RUN, *options, sys.executable, script, name],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "TMPDIR": str(tmp_path), **environ},
            )

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    def directory(self) -> Path:
        """Where the cluster keeps its files; known once the command runs."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("directory "):
                return Path(line.split()[1])
        raise AssertionError(f"the command did not start:\n{self.errors}")

    def last_words(self) -> str:
        """What the command found when it was told to end."""
        assert self.process.stdout is not None
        return next(line for line in self.process.stdout if line.startswith("end "))


def descendants(pid: int) -> list[int]:
    """The process and everything below it, as this PID namespace numbers them."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += descendants(int(child))
    return found


def running(pids: list[int]) -> list[int]:
    """Those that exist and are more than an entry for their parent to read."""
    alive = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            continue
        if state != "Z":
            alive.append(pid)
    return alive


def test_two_clusters_run_side_by_side_and_killing_one_leaves_nothing_of_it(tmp_path: Path) -> None:
    mounts = Path("/proc/self/mounts").read_text()
    first, second = Running(tmp_path, "first"), Running(tmp_path, "second")
    first.directory(), second.directory()
    doomed = descendants(first.process.pid)
    assert len(doomed) > 10, "the components are among them"

    first.process.kill()
    first.process.communicate()
    eventually_sync(lambda: not running(doomed), what="no process of the killed cluster is left")
    # Its files were in memory, in a mount namespace that has gone with it.
    assert Path("/proc/self/mounts").read_text() == mounts
    assert {path.name for path in tmp_path.iterdir()} == {"command.py", "first.err", "second.err"}

    second.process.send_signal(signal.SIGTERM)
    words = second.last_words()
    assert "namespace/second" in words
    assert "namespace/first" not in words
    second.process.communicate(timeout=60)
    assert second.process.returncode == 7


def test_without_namespaces_it_says_what_is_left_out_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    runner = Running(tmp_path, "plain", DEVCLUSTER_ISOLATION="off")
    directory = runner.directory()
    assert "Pods have no addresses that answer" in runner.errors
    assert directory.parent == tmp_path
    doomed = descendants(runner.process.pid)

    runner.process.kill()
    runner.process.communicate()
    eventually_sync(lambda: not running(doomed), within=30, what="no process is left")
    eventually_sync(lambda: not directory.exists(), what="the directory is gone")


def test_ctrl_c_reaches_the_command_while_its_cluster_is_there(tmp_path: Path) -> None:
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(RUN, [str(RUN), sys.executable, str(script), "typed"])
    output = b""

    def read_until(words: bytes) -> None:
        nonlocal output
        while words not in output:
            output += os.read(terminal, 4096)

    read_until(b"directory ")
    os.write(terminal, b"\x03")
    read_until(b"end ")
    read_until(b"namespace/typed")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    os.close(terminal)


def test_without_a_command_there_is_a_shell_with_a_hint_at_what_to_type() -> None:
    shell = subprocess.run(
        [RUN],
        input="kubectl get namespaces --output=name\nexit 3\n",
        env={**os.environ, "SHELL": "/bin/sh"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert shell.returncode == 3, shell.stderr
    assert "namespace/kube-system" in shell.stdout
    assert "exit                                                            # and every" in (
        shell.stderr
    )


def test_a_published_port_is_reached_from_outside(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    runner = Running(tmp_path, "published", options=[f"--publish=prometheus={port}"])
    runner.directory()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=10) as answer:
        assert answer.status == 200
    runner.process.terminate()
    runner.process.communicate(timeout=60)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_machine_that_refuses_namespaces_is_recognised() -> None:
    """A user namespace in which no network namespace may be made is such a machine."""
    script = (
        "from pathlib import Path; from devcluster import isolation; "
        "Path('/proc/sys/user/max_net_namespaces').write_text('0'); print(isolation.why_not())"
    )
    asked = subprocess.run(
        ["unshare", "--map-root-user", sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(DEVCLUSTER)},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.stdout == "unshare: No space left on device\n", asked.stderr


def test_a_component_that_cannot_start_is_named_with_the_end_of_its_log() -> None:
    failed = subprocess.run(
        [RUN, "true"],
        env={**os.environ, "DEVCLUSTER_FLAGS_ETCD": "--data-dir=/proc/no-such-place"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert failed.returncode == 125
    assert "etcd ended before it was ready" in failed.stderr
    assert "no-such-place" in failed.stderr
