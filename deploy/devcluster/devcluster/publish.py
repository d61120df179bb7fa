"""A way in from the host: ``--publish prometheus=9090`` opens the host's port 9090 for Prometheus.

A listening socket belongs to the network in which it was opened, whoever accepts from it. So it is
opened on the host's loopback before the namespaces are entered, and served from within.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from devcluster.errors import DevclusterError
from devcluster.site import LOOPBACK, PORT_NAMES, Ports

_CHUNK = 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """One port of the cluster (a name of :class:`~devcluster.site.Ports`) and its listener."""

    name: str
    listener: socket.socket


def open_publication(text: str) -> Publication:
    """Open the host's side of ``NAME=PORT``.

    Raises:
        DevclusterError: it cannot be read, there is no such name, or the port is taken.
    """
    name, _, port = text.partition("=")
    if name not in PORT_NAMES or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise DevclusterError(
            f"--publish {text}: expected NAME=PORT, where NAME is one of {', '.join(PORT_NAMES)}"
        )
    try:
        return Publication(name=name, listener=socket.create_server((LOOPBACK, int(port))))
    except OSError as error:
        raise DevclusterError(
            f"--publish {text}: port {port} cannot be had ({error}); choose another"
        ) from error


@contextlib.asynccontextmanager
async def published(publications: Sequence[Publication], ports: Ports) -> AsyncIterator[None]:
    """Serve the publications from inside the cluster's network."""
    async with contextlib.AsyncExitStack() as stack:
        for publication in publications:
            port: int = getattr(ports, publication.name)
            server = await asyncio.start_server(_relay_to(port), sock=publication.listener)
            stack.callback(server.close)
        yield


def _relay_to(port: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection(LOOPBACK, port)
        except OSError:
            writer.close()
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_pump(reader, inner_writer))
            tasks.create_task(_pump(inner_reader, writer))

    return relay


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end; a connection that breaks ends both directions the same way."""
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    writer.close()
