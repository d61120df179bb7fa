"""Keeps the book of Spaces on disk, and rid of namespaces that are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from sleeper.control.book import SpaceBook
from sleeper.core.objects import Namespace
from sleeper.errors import StoreError
from sleeper.store import spaces
from sleeper.store.engine import Database

log = structlog.get_logger(__name__)

SAVE_EVERY_SECONDS: Final = 1.0
"""A crash in between makes Spaces sleep later: an unsaved page begins anew."""


class Bookkeeper:
    """Saves what changed."""

    def __init__(
        self,
        book: SpaceBook,
        database: Database,
        namespace_of: Callable[[str], Namespace | None],
        synced: Callable[[], bool],
    ) -> None:
        self._book = book
        self._database = database
        self._namespace_of = namespace_of
        self._synced = synced

    async def run(self) -> None:
        """Save every second until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(SAVE_EVERY_SECONDS)
                await self.save()
        finally:
            await self.save()

    async def save(self) -> None:
        """Save what changed; what cannot be saved comes again with the next call."""
        if self._synced():
            for uid in self._book.uids():
                if self._namespace_of(uid) is None:
                    self._book.forget(uid)
        unsaved = self._book.take_unsaved()
        if not unsaved:
            return
        try:
            async with self._database.begin() as connection:
                await spaces.save(connection, unsaved)
        except StoreError as error:
            self._book.put_back(unsaved)
            log.warning("book_not_saved", error=str(error))
