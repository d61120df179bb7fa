"""The database connection: opened with its schema brought up to date, closed for sure.

SQLite is the default and needs care in three places: replicas on one host share the file, so it
runs in WAL mode, waits for a lock, and every writer takes the write lock when it begins (a read
transaction that turns into a write fails at once when somebody else wrote in between).
Each connection has a thread of aiosqlite's, so an engine must be closed whatever happens.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.engine.url import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from sleeper.errors import StoreError
from sleeper.store.schema import bring_up_to_date

LOCK_TIMEOUT_SECONDS: Final = 10.0
"""How long a transaction waits for another writer; ours last milliseconds."""

_BEGIN: Final = "sleeper_begin"
"""Execution option: the statement that begins a transaction on SQLite, or "" for none."""


class Database:
    """An open database whose schema is the one that this program knows."""

    def __init__(self, engine: AsyncEngine, url: URL) -> None:
        self._engine = engine
        self._url = url

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        migrate: bool = True,
        lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS,
    ) -> Database:
        """Connect, check the schema and bring it up to date.

        Args:
            url: SQLAlchemy URL with an async driver, such as ``sqlite+aiosqlite:////path/to.db``.
            migrate: bring an older schema up to date; otherwise it is refused.
            lock_timeout_seconds: how long to wait for another process's write.

        Raises:
            StoreError: it cannot be used; the sentence says what it is and what to do.
        """
        parsed = _parse(url)
        engine = _engine(parsed, lock_timeout_seconds)
        if _is_plain_file(parsed):
            _check_openable(Path(parsed.database or ""))
        if parsed.get_backend_name() == "sqlite":
            _prepare_sqlite(engine, lock_timeout_seconds)
        database = cls(engine, parsed)
        try:
            async with database.begin() as connection:
                await connection.run_sync(bring_up_to_date, migrate=migrate)
        except BaseException:
            await database.close()
            raise
        return database

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may write: committed at the end, rolled back on an exception.

        Raises:
            StoreError: the database refused; nothing was written.
        """
        try:
            async with self._engine.begin() as connection:
                yield connection
        except (DBAPIError, PoolTimeout) as error:
            raise _explained(error, self._url) from error

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads, sees one moment and keeps no writer waiting.

        Raises:
            StoreError: the database refused.
        """
        reading = self._engine.execution_options(**{_BEGIN: "BEGIN"})
        try:
            async with reading.begin() as connection:
                yield connection
        except (DBAPIError, PoolTimeout) as error:
            raise _explained(error, self._url) from error

    async def checkpoint(self) -> None:
        """Fold SQLite's write-ahead log back into the file; elsewhere nothing is to be done."""
        if self._engine.dialect.name == "sqlite":
            outside = self._engine.execution_options(**{_BEGIN: ""})
            try:
                async with outside.connect() as connection:
                    await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            except DBAPIError as error:
                raise _explained(error, self._url) from error

    async def close(self) -> None:
        """Close every connection and end their threads."""
        await self._engine.dispose()

    async def __aenter__(self) -> Database:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def check_usable(url: str) -> None:
    """Look at ``url`` without opening what it names.

    Raises:
        StoreError: it is no URL, its driver is not for asyncio or not installed, or there is no
            directory for its file.
    """
    parsed = _parse(url)
    _engine(parsed, LOCK_TIMEOUT_SECONDS)
    if _is_plain_file(parsed):
        _check_directory(Path(parsed.database or ""))


def url_for_people(url: URL) -> str:
    """The URL without its password."""
    return url.render_as_string(hide_password=True)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreError(
            "database.url cannot be read: expected an SQLAlchemy URL such as "
            "sqlite+aiosqlite:////var/lib/sleeper/sleeper.db"
        ) from error
    return parsed


def _engine(url: URL, lock_timeout_seconds: float) -> AsyncEngine:
    """An engine that has connected to nothing yet."""
    try:
        return create_async_engine(url, **_pool_options(url, lock_timeout_seconds))
    except (ArgumentError, InvalidRequestError, ImportError) as error:
        raise StoreError(
            f"database.url {url_for_people(url)!r} has no usable asyncio driver: {error}"
        ) from error


def _is_plain_file(url: URL) -> bool:
    """A SQLite file by its path; ``:memory:`` and the form of a URI are SQLite's own to judge."""
    elsewhere = (url.database or "").startswith((":memory:", "file:"))
    return url.get_backend_name() == "sqlite" and not elsewhere


def _check_directory(path: Path) -> None:
    if not path.parent.is_dir():
        raise StoreError(
            f"the directory of the database, {path.parent}, does not exist: create it, or "
            "set database.url"
        )


def _check_openable(path: Path) -> None:
    """Open the file once without aiosqlite, whose thread outlives the loop when that fails."""
    _check_directory(path)
    try:
        sqlite3.connect(path).close()
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"the database {path} cannot be opened: check that it is a file that this user may "
            "write, or set database.url"
        ) from error


def _pool_options(url: URL, lock_timeout_seconds: float) -> dict[str, object]:
    if url.get_backend_name() != "sqlite":
        return {"pool_pre_ping": True}
    options: dict[str, object] = {"connect_args": {"timeout": lock_timeout_seconds}}
    if _is_plain_file(url):  # one in memory has a single connection
        options["pool_timeout"] = lock_timeout_seconds
    return options


def _prepare_sqlite(engine: AsyncEngine, lock_timeout_seconds: float) -> None:
    """Set each connection's pragmas, and begin transactions ourselves."""

    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        # The driver would begin transactions late and only before some statements.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(lock_timeout_seconds * 1000)}")
        cursor.execute("PRAGMA journal_mode = WAL")
        # WAL stays consistent so; a power cut may lose the last commits, which is a gap.
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def on_begin(connection: Connection) -> None:
        statement: str = connection.get_execution_options().get(_BEGIN, "BEGIN IMMEDIATE")
        if statement:
            connection.exec_driver_sql(statement)


def _explained(error: DBAPIError | PoolTimeout, url: URL) -> StoreError:
    """The sentence for a database that refuses."""
    shown = url_for_people(url)
    if isinstance(error, PoolTimeout):
        return StoreError(f"the database {shown} has no connection left: ask less at once")
    said = str(error.orig)
    if "locked" in said or "busy" in said:
        what = "is locked by another process: stop it, or give each replica its own database"
    elif "readonly" in said or "read-only" in said:
        what = "is read-only: give this user the right to write the file and its directory"
    elif "not a database" in said or "malformed" in said:
        what = "is not a database or is damaged: move the file away, or set database.url"
    elif "full" in said:
        what = "cannot grow because the disk is full: free some space"
    else:
        what = f"cannot be used: {said}"
    return StoreError(f"the database {shown} {what}")
