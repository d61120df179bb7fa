"""The book of Spaces, and what of it is on disk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from metrics.core.signals import SignalName
from sleeper.control.assess import rules_fingerprint
from sleeper.control.book import SpaceBook, SpacePage
from sleeper.control.bookkeeping import Bookkeeper
from sleeper.core.objects import Metadata, Namespace
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import FreedRequests, SleepRecord
from sleeper.store import spaces
from sleeper.store.engine import Database
from sleeper.store.spaces import SpaceState

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SLEEPING = SleepRecord(
    space_uid="u-1",
    space_name="a",
    tenant="t",
    epoch=1,
    phase=PowerState.ASLEEP,
    reason=Reason.IDLE,
    horizon=NOW,
    decided_at=NOW,
    sleeping_since=NOW,
    entries=(),
    freed=FreedRequests(cpu_millis=0, memory_bytes=0, pods=0),
)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with await Database.open(f"sqlite+aiosqlite:///{tmp_path / 'sleeper.db'}") as opened:
        yield opened


class Shelf:
    """A book that is kept in a database, for namespaces that can go."""

    def __init__(self, database: Database, stored: Mapping[str, SpaceState]) -> None:
        self.database = database
        self.book = SpaceBook(stored)
        self.namespaces = {"u-1", "u-2"}
        self.keeper = Bookkeeper(self.book, database, self._namespace, lambda: True)

    def _namespace(self, uid: str) -> Namespace | None:
        return Namespace(metadata=Metadata(uid=uid)) if uid in self.namespaces else None

    def page(self, hours: float, *, asleep: bool = False, uid: str = "u-1") -> SpacePage:
        record = SLEEPING if asleep else None
        return self.book.page(uid, rules="r", record=record, now=NOW + hours * HOUR)

    async def stored(self) -> Mapping[str, SpaceState]:
        await self.keeper.save()
        async with self.database.read() as connection:
            return await spaces.load(connection)


@pytest.fixture
def shelf(database: Database) -> Shelf:
    return Shelf(database, {})


async def test_a_sleeping_space_has_no_row_so_a_crash_after_its_waking_forgets_nothing(
    shelf: Shelf,
) -> None:
    shelf.page(0)
    assert await shelf.stored() == {"u-1": SpaceState(rules="r", rules_since=NOW)}
    shelf.page(5, asleep=True)
    kept = await shelf.stored()
    assert kept == {}
    restarted = Shelf(shelf.database, kept)
    assert restarted.page(6).state.rules_since == NOW + 6 * HOUR


async def test_rules_that_change_during_a_sleep_bring_no_row_back(shelf: Shelf) -> None:
    shelf.page(0, asleep=True)
    shelf.book.page("u-1", rules="others", record=SLEEPING, now=NOW + HOUR)
    assert await shelf.stored() == {}


async def test_its_clock_begins_when_it_is_seen_awake_again(shelf: Shelf) -> None:
    shelf.page(0)
    shelf.page(5, asleep=True)
    shelf.page(6)
    woken = SpaceState(rules="r", rules_since=NOW, woken_at=NOW + 6 * HOUR)
    assert await shelf.stored() == {"u-1": woken}


async def test_rows_of_namespaces_that_are_gone_go_too(shelf: Shelf) -> None:
    shelf.page(0)
    shelf.page(0, uid="u-2")
    restarted = Shelf(shelf.database, await shelf.stored())
    restarted.page(1)  # the other one is only known from its row
    restarted.namespaces.clear()
    assert await restarted.stored() == {}


def test_the_rules_change_with_routes_with_who_carries_them_and_with_what_is_required() -> None:
    told_apart: list[tuple[list[str], list[str], list[SignalName]]] = [
        ([], [], [SignalName.API]),
        (["Ingress/web@u.1"], [], [SignalName.API, SignalName.TRAFFIC]),
        (["Ingress/web@u.2"], [], [SignalName.API, SignalName.TRAFFIC]),
        (["Ingress/web@u.1"], ["Ingress/web"], [SignalName.API, SignalName.TRAFFIC]),
        (["Ingress/web@u.1"], [], [SignalName.API]),
    ]
    assert len({rules_fingerprint(*one) for one in told_apart}) == len(told_apart)
