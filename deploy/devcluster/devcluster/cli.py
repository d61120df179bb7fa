"""``deploy/devcluster/run [OPTIONS] [CMD…]``."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from devcluster import facts, isolation, options
from devcluster.build import cache_directory, ensure_binaries
from devcluster.errors import DevclusterError
from devcluster.launcher import launch
from devcluster.publish import open_publication
from devcluster.site import PORT_NAMES, Site, choose_ports

_EXIT_OURS: Final = 125
"""Exit code when the cluster could not be had; every other code is the command's."""

_HINT: Final = """\
a cluster of your own; try: kubectl get nodes
  kubectl --kubeconfig $DEVCLUSTER_KUBECONFIG_ALICE get pods -A   # as an engineer
  curl -H 'Host: web.example.com' $DEVCLUSTER_INGRESS_URL         # once an Ingress has that host
  sleeper spaces                                                  # this checkout's sleeper
  env | grep DEVCLUSTER_                                          # what else there is
  exit                                                            # and everything is gone"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit code is the command's, or 125 if there was no cluster."""
    try:
        return _main(_parse(arguments))
    except DevclusterError as error:
        _say(str(error))
        return _EXIT_OURS
    except OSError as error:
        _say(f"the cluster cannot be had: {error}; is there space, and may this user write there?")
        return _EXIT_OURS
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _main(arguments: argparse.Namespace) -> int:
    settings = options.read_options(os.environ)
    command = arguments.command or [os.environ.get("SHELL", "/bin/sh")]
    if os.environ.get("DEVCLUSTER_USE_KUBECONFIG") == "1":
        os.execvpe(command[0], command, facts.existing_cluster(os.environ))
    with _terminable():
        binaries = ensure_binaries(_say)
    if arguments.build_only:
        return 0

    publications = [open_publication(text) for text in arguments.publish]

    def body(surroundings: isolation.Surroundings) -> int:
        site = Site(
            directory=surroundings.directory,
            binaries=binaries,
            options=settings,
            ports=choose_ports(settings.ports, isolated=surroundings.isolated),
            isolated=surroundings.isolated,
        )
        greeting = None if arguments.command else _HINT
        return asyncio.run(
            launch(
                site,
                surroundings,
                command,
                publications=publications,
                say=_say,
                greeting=greeting,
            )
        )

    reason = isolation.why_not() if settings.isolate else "DEVCLUSTER_ISOLATION is off"
    if reason is None:
        return isolation.run_isolated(_reporting(body), mount_point=cache_directory() / "mnt")
    _say(
        f"no namespaces ({reason}): the cluster runs on free ports of this machine and Pods have "
        "no addresses that answer, so what needs Pod traffic is left out"
    )
    return isolation.run_plain(_reporting(body))


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the stack, so that an interrupted build cleans up."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _reporting(body: isolation.Body) -> isolation.Body:
    """``body`` with its errors as sentences: it runs in a process of its own."""

    def run(surroundings: isolation.Surroundings) -> int:
        try:
            return body(surroundings)
        except* DevclusterError as errors:
            for error in _leaves(errors):
                _say(str(error))
        except* OSError as errors:
            for error in _leaves(errors):
                _say(f"the cluster cannot be kept up: {error}")
        return _EXIT_OURS

    return run


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="deploy/devcluster/run",
        description="Run CMD in a fresh Kubernetes cluster, and take it down afterwards.",
        epilog=f"{options.__doc__}\n{facts.__doc__}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--build-only", action="store_true", help="compile what is missing and start nothing"
    )
    parser.add_argument(
        "--publish",
        action="append",
        default=[],
        metavar="NAME=PORT",
        help="open a loopback port of this machine for one of the cluster's; "
        f"NAME is one of {', '.join(PORT_NAMES)}; may be given several times",
    )
    parser.add_argument(
        "command",
        metavar="CMD",
        nargs=argparse.REMAINDER,
        help="the command and its arguments; an interactive shell if there is none",
    )
    return parser.parse_args(arguments)


def _say(text: str) -> None:
    print(f"devcluster: {text}", file=sys.stderr, flush=True)
