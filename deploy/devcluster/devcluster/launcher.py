"""Inside the namespaces: start everything, run the command, take everything down."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from devcluster.bootstrap import apply_objects, install_sleeper, write_files
from devcluster.components.apiserver import apiserver
from devcluster.components.controller_manager import controller_manager
from devcluster.components.echo import echo
from devcluster.components.etcd import etcd
from devcluster.components.kwok import kwok
from devcluster.components.prometheus import prometheus
from devcluster.components.scheduler import scheduler
from devcluster.components.traefik import traefik
from devcluster.components.volumes import volumes
from devcluster.control import ControlServer
from devcluster.facts import facts
from devcluster.isolation import Surroundings
from devcluster.process import Process, Spec
from devcluster.publish import Publication, published
from devcluster.site import Site

_WATCH_SECONDS: Final = 1.0
_ON_THE_CLUSTER: Final = (controller_manager, scheduler, kwok, volumes, prometheus, traefik)

Say = Callable[[str], None]


async def launch(
    site: Site,
    surroundings: Surroundings,
    command: Sequence[str],
    *,
    publications: Sequence[Publication],
    say: Say,
    greeting: str | None = None,
) -> int:
    """Run ``command`` in a fresh cluster.

    Args:
        site: where the cluster is.
        surroundings: what the namespaces are.
        command: its standard streams are ours.
        publications: ports to be opened on the host.
        say: tells the person at the keyboard.
        greeting: said when everything is ready.

    Returns:
        The command's exit code; 128 and the signal's number if a signal ended it, or ended the
        cluster before the command could start.

    Raises:
        ComponentError: a component did not start.
    """
    command_line = _CommandLine(command, surroundings)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(command_line.signals())
        try:
            began = time.monotonic()
            say("starting a fresh cluster: etcd, then the API server, then the rest; 10 to 30 s")
            processes = await _start_all(site, stack, say)
            say(f"ready after {time.monotonic() - began:.1f} s")
            server = await ControlServer(processes).listen(site.control_socket)
            stack.callback(server.close)
            await stack.enter_async_context(published(publications, site.ports))
            if greeting is not None:
                say(greeting)
            return await _run(command_line, facts(site, os.environ), processes, say)
        except asyncio.CancelledError:
            if command_line.interrupted_by is None:
                raise
            return 128 + command_line.interrupted_by


async def _start_all(
    site: Site, stack: contextlib.AsyncExitStack, say: Say
) -> Mapping[str, Process]:
    """Start everything in order; what has been started is stopped by ``stack``, in reverse."""
    processes: dict[str, Process] = {}

    async def start(specs: Iterable[Spec]) -> None:
        group = [
            Process(
                spec,
                log=site.logs / f"{spec.name}.log",
                overrides=site.options.flags.get(spec.name, {}),
            )
            for spec in specs
        ]
        stack.push_async_callback(_stop, group)
        async with asyncio.TaskGroup() as tasks:
            for process in group:
                tasks.create_task(_start(process, say))
        processes.update((process.spec.name, process) for process in group)

    write_files(site)
    await start([etcd(site)])
    await start([apiserver(site)])
    await apply_objects(site)
    pods = (echo,) if site.isolated else ()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(install_sleeper(site))
        tasks.create_task(start([component(site) for component in (*_ON_THE_CLUSTER, *pods)]))
    return processes


async def _start(process: Process, say: Say) -> None:
    seconds = await process.start()
    say(f"{process.spec.name:<24} ready  {seconds:4.1f} s")


async def _stop(processes: Iterable[Process]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for process in processes:
            tasks.create_task(process.stop())


async def _run(
    command_line: _CommandLine,
    environment: Mapping[str, str],
    processes: Mapping[str, Process],
    say: Say,
) -> int:
    """Run the command, and say so when a component dies meanwhile."""
    async with asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(_watch(processes.values(), say))
        try:
            return await command_line.run(environment)
        finally:
            watch.cancel()


async def _watch(processes: Iterable[Process], say: Say) -> None:
    lost: set[str] = set()
    while True:
        for process in processes:
            if not process.lost:
                lost.discard(process.spec.name)
            elif process.spec.name not in lost:
                lost.add(process.spec.name)
                say(process.post_mortem("has ended by itself"))
        await asyncio.sleep(_WATCH_SECONDS)


class _CommandLine:
    """The command, and what signals mean before and while it runs."""

    def __init__(self, command: Sequence[str], surroundings: Surroundings) -> None:
        self._command = command
        self._surroundings = surroundings
        self._child: asyncio.subprocess.Process | None = None
        self.interrupted_by: signal.Signals | None = None

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Until the command runs a signal ends the start; then it is the command's."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None, "within a task"

        def on_signal(number: signal.Signals) -> None:
            if self._child is None:
                self.interrupted_by = number
                task.cancel()
            elif not (self._surroundings.terminal and number == signal.SIGINT):
                with contextlib.suppress(ProcessLookupError):
                    self._child.send_signal(number)

        def on_lost_parent() -> None:
            loop.remove_reader(self._surroundings.parent)
            on_signal(signal.SIGTERM)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, on_signal, number)
        loop.add_reader(self._surroundings.parent, on_lost_parent)
        yield

    async def run(self, environment: Mapping[str, str]) -> int:
        """Run it to its end."""
        try:
            self._child = await asyncio.create_subprocess_exec(*self._command, env=environment)
        except OSError as error:
            print(f"devcluster: {shlex.join(self._command)}: {error.strerror}", file=sys.stderr)
            return 127 if isinstance(error, FileNotFoundError) else 126
        status = await self._child.wait()
        return status if status >= 0 else 128 - status
