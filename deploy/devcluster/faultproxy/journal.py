"""Every request that came by, for counting writes and for measuring when they came."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator

import msgspec

KEPT = 200_000
"""Entries kept; older ones are forgotten, so that a long run stays small."""


class Entry(msgspec.Struct, kw_only=True):
    """One request.

    Attributes:
        seq: its number, from 1.
        at: wall time of its arrival, Unix seconds.
        method: HTTP method.
        target: path and query.
        user_agent: the caller's.
        status: of the answer, whether or not it reached the caller; None: there was none (yet).
        fault: kind and moment of the fault that struck it, such as ``kill:after``; else empty.
        done: whether the exchange is over.
    """

    seq: int
    at: float
    method: str
    target: str
    user_agent: str = ""
    status: int | None = None
    fault: str = ""
    done: bool = False


class Journal:
    """A bounded list of entries, oldest first."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._last_seq = 0

    def open(self, method: str, target: str, user_agent: str) -> Entry:
        """Note the arrival of a request."""
        self._last_seq += 1
        entry = Entry(
            seq=self._last_seq,
            at=time.time(),
            method=method,
            target=target,
            user_agent=user_agent,
        )
        self._entries.append(entry)
        return entry

    def since(self, seq: int) -> Iterator[Entry]:
        """Entries that came after number ``seq``."""
        return (entry for entry in self._entries if entry.seq > seq)
