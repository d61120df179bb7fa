"""Namespaces of our own: a network in which Pod addresses are local, and an end that is certain.

The chain of processes, and what becomes of it::

    run (outside) ── init (process 1 of the PID namespace) ── launcher ── components, the command

When the runner outside dies, however it dies, the kernel kills ``init``, and with it every process
of the namespace; the cluster's directory is a tmpfs of the mount namespace and goes with the last
of them. Without namespaces the launcher is told by the closing of a pipe, takes everything down
itself and removes the directory; the components are bound to the launcher's life one by one.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from pyroute2 import IPRoute

from devcluster.errors import DevclusterError
from devcluster.site import POD_RANGE, SERVICE_RANGE

_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWPID: Final = 0x20000000
_CLONE_NEWNET: Final = 0x40000000
_MS_NOSUID_NODEV: Final = 0x2 | 0x4
_MS_PRIVATE_RECURSIVE: Final = (1 << 18) | 0x4000
_PR_SET_PDEATHSIG: Final = 1
_RTN_LOCAL: Final = "local"
_TABLE_LOCAL: Final = 255
_SCOPE_HOST: Final = 254

_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the launcher finds itself in.

    Attributes:
        directory: for everything that the cluster writes.
        isolated: True in namespaces of our own.
        parent: file descriptor that becomes readable (end of file) when the runner has died.
        terminal: True if a Ctrl-C at the terminal reaches the command by itself.
    """

    directory: Path
    isolated: bool
    parent: int
    terminal: bool


Body = Callable[[Surroundings], int]


def why_not() -> str | None:
    """Why there can be no namespaces here; None if there can. Tried out in a throw-away process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _unshare()
            grandchild = os.fork()
            if grandchild == 0:
                _enter(tempfile.gettempdir())
            elif os.waitpid(grandchild, 0)[1] != 0:
                os._exit(1)  # it has written why
        except Exception as error:  # noqa: BLE001 - a copy of the runner must not go on
            os.write(writer, str(error).encode())
            os._exit(1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        reason = answer.read()
    failed = os.waitpid(child, 0)[1] != 0
    return (reason or "the trial process died") if failed else None


def run_isolated(body: Body, *, mount_point: Path) -> int:
    """Run ``body`` in namespaces of its own, with an empty tmpfs at ``mount_point``.

    This process itself leaves the host's network; it is only good for waiting afterwards.

    Returns:
        The exit code of ``body``.
    """
    mount_point.mkdir(parents=True, exist_ok=True)
    terminal = _owns_terminal()
    reader, writer = os.pipe()
    _unshare()
    child = os.fork()
    if child == 0:
        os.close(writer)
        _end_with_parent(reader)
        _enter(str(mount_point))
        surroundings = Surroundings(
            directory=mount_point, isolated=True, parent=reader, terminal=terminal
        )
        _exit_as(_be_init(lambda: body(surroundings), terminal=terminal))
    os.close(reader)
    return _wait(child, terminal=terminal)


def run_plain(body: Body) -> int:
    """Run ``body`` on the host, in a temporary directory that is gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="sleeper-devcluster-"))
    terminal = _owns_terminal()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        surroundings = Surroundings(
            directory=directory, isolated=False, parent=reader, terminal=terminal
        )
        try:
            status = body(surroundings)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        _exit_as(status)
    os.close(reader)
    try:
        return _wait(child, terminal=terminal)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _unshare() -> None:
    flags = _CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWNET
    user, group = os.geteuid(), os.getegid()
    if user != 0:
        flags |= _CLONE_NEWUSER
    _check(_libc.unshare(flags), "unshare")
    if user != 0:
        # Without "deny" an unprivileged process may not map its group.
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def _enter(mount_point: str) -> None:
    """Inside, as the first process: mounts and network."""
    _check(_libc.mount(None, b"/", None, _MS_PRIVATE_RECURSIVE, None), "making mounts private")
    _check(_libc.mount(b"proc", b"/proc", b"proc", _MS_NOSUID_NODEV, None), "mounting /proc")
    _check(
        _libc.mount(b"tmpfs", mount_point.encode(), b"tmpfs", _MS_NOSUID_NODEV, b"mode=0755"),
        f"mounting a tmpfs at {mount_point}",
    )
    with IPRoute() as network:
        (loopback,) = network.link_lookup(ifname="lo")
        network.link("set", index=loopback, state="up")
        for addresses in (POD_RANGE, SERVICE_RANGE):
            network.route(
                "add",
                dst=addresses,
                oif=loopback,
                type=_RTN_LOCAL,
                table=_TABLE_LOCAL,
                scope=_SCOPE_HOST,
            )


def _end_with_parent(parent: int) -> None:
    """The kernel kills us when the runner dies; the pipe says if it has died already."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")
    if select.select([parent], [], [], 0)[0]:
        os._exit(1)


def _be_init(body: Callable[[], int], *, terminal: bool) -> int:
    """Process 1: runs ``body`` in a child, passes signals on and buries the orphans."""
    child = os.fork()
    if child == 0:
        _exit_as(body())
    return _wait(child, terminal=terminal)


def _wait(child: int, *, terminal: bool) -> int:
    """Wait for ``child``, passing signals on; any other child that ends is reaped on the way."""

    def pass_on(number: int, _frame: object) -> None:
        # A Ctrl-C at the terminal has reached the whole group already.
        if not (terminal and number == signal.SIGINT):
            with suppress(ProcessLookupError):
                os.kill(child, number)

    # Handlers, not SIG_IGN, because the command would inherit being deaf.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _owns_terminal() -> bool:
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False


def _exit_as(status: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise DevclusterError(f"{what}: {os.strerror(ctypes.get_errno())}")
