"""Addresses to listen on, taken before anything else is: a daemon without them must not lead."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from sleeper.errors import ConfigError

_BACKLOG = 128
"""Connections that wait until somebody serves; ours do so a moment after the socket is there."""


@contextmanager
def listening(host: str, port: int, *, section: str) -> Iterator[socket.socket]:
    """A socket that listens until the context ends.

    Args:
        host: address or name.
        port: 0: any.
        section: of the settings, whose ``listen`` and ``port`` these are.

    Raises:
        ConfigError: the address cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server((str(address[0]), port), family=family, backlog=_BACKLOG)
    except OSError as error:
        # By its number: create_server's own sentence ends with the address.
        number = error.errno or 0
        why = os.strerror(number) if number > 0 else error.strerror
        raise ConfigError(
            f"{section}.listen, {section}.port: cannot listen on {host}:{port}: {why}"
        ) from error
    with listener:
        yield listener
