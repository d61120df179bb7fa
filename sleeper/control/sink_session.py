"""The lives of sinks: which of them run, how far each has flushed, and which died.

A sink acknowledges batches before they are stored, so one that dies takes acknowledged events
with it. Each therefore keeps a row while it lives, renews it with every flush and deletes it at
its clean end. A row that another life of the same replica left behind, or that is not renewed for
long, is a death. It is accounted for by whoever finds it, in the transaction that removes it.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from metrics import store


@dataclass(frozen=True, slots=True, kw_only=True)
class Roll:
    """What calling the roll of sinks found.

    Attributes:
        flushed_until: everything that any running sink received before this is stored.
        died: some sink ended with unflushed events; it may have been our own earlier self.
        others: other sinks are running on the same database.
    """

    flushed_until: datetime
    died: bool
    others: bool


class SinkSession:
    """Our own sink's life.

    Args:
        identity: the replica's name; of two running replicas it must differ.
        timeout: after that long without a renewal a sink is taken for dead, and so is one whose
            renewal lies that far ahead: the clock was set back since, and it may have died long
            ago. If it lives it finds its row missing.
    """

    def __init__(self, *, identity: str, timeout: timedelta) -> None:
        self._identity = identity
        self._timeout = timeout
        self._id = str(uuid.uuid4())
        self._started_at: datetime | None = None

    async def renew(self, connection: store.Connection, *, flushed_until: datetime) -> Roll:
        """Say how far we have flushed, and look after the others."""
        died = others = False
        oldest = flushed_until
        mine_is_there = False
        for session in await store.load_sessions(connection):
            if session.session_id == self._id:
                mine_is_there = True
            elif (
                session.identity == self._identity
                or abs(flushed_until - session.flushed_until) > self._timeout
            ):
                died = True
                await store.end_session(connection, session.session_id)
            else:
                others = True
                oldest = min(oldest, session.flushed_until)
        if self._started_at is None:
            self._started_at = flushed_until
        elif not mine_is_there:  # we were paused, and taken for dead
            died = True
        mine = store.SinkSession(
            session_id=self._id, identity=self._identity, flushed_until=flushed_until
        )
        await store.renew_session(connection, mine, started_at=self._started_at)
        return Roll(flushed_until=oldest, died=died, others=others)

    async def end(self, connection: store.Connection) -> None:
        """The clean end: in the transaction of the last flush."""
        await store.end_session(connection, self._id)
