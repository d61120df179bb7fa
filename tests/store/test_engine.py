"""The database is opened with the right schema, or refused with a sentence that helps."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from sqlalchemy import select, text

from billing import store
from sleeper.errors import StoreError
from sleeper.store.engine import Database


def url_of(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sleeper.db"


async def test_a_new_file_gets_every_table_and_keeps_what_is_written(path: Path) -> None:
    async with await Database.open(url_of(path)) as database, database.begin() as connection:
        await store.begin_span(connection, 7)
    async with await Database.open(url_of(path)) as database, database.read() as connection:
        assert (await connection.execute(select(store.meter_span.c.start_s))).scalars().all() == [7]


async def test_an_exception_rolls_the_transaction_back(path: Path) -> None:
    async with await Database.open(url_of(path)) as database:

        async def fail_half_way() -> None:
            async with database.begin() as connection:
                await store.begin_span(connection, 7)
                raise LookupError

        with pytest.raises(LookupError):
            await fail_half_way()
        async with database.read() as connection:
            assert await store.select_spans(connection) == ()


async def test_it_runs_in_wal_mode_with_foreign_keys(path: Path) -> None:
    async with await Database.open(url_of(path)) as database, database.read() as connection:
        assert await connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert await connection.scalar(text("PRAGMA foreign_keys")) == 1


async def test_a_reader_sees_one_moment_while_another_replica_writes(path: Path) -> None:
    async with (
        await Database.open(url_of(path)) as reader,
        await Database.open(url_of(path)) as writer,
    ):
        async with reader.read() as before:
            assert await store.select_spans(before) == ()
            async with writer.begin() as connection:
                await store.begin_span(connection, 7)
            assert await store.select_spans(before) == ()
        async with reader.read() as after:
            assert len(await store.select_spans(after)) == 1


async def test_two_replicas_that_write_at_once_take_turns(path: Path) -> None:
    """Read-then-write in one transaction: with deferred transactions one of them would fail."""

    async def extend_repeatedly(database: Database) -> None:
        for _ in range(30):
            async with database.begin() as connection:
                spans = await store.select_spans(connection)
                await store.begin_span(connection, len(spans))

    async with (
        await Database.open(url_of(path)) as one,
        await Database.open(url_of(path)) as other,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(extend_repeatedly(one))
        tasks.create_task(extend_repeatedly(other))
    async with await Database.open(url_of(path)) as database, database.read() as connection:
        assert [span.start for span in await store.select_spans(connection)] == list(range(60))


async def test_replicas_that_start_together_on_a_new_file_both_come_up(path: Path) -> None:
    databases: list[Database] = []

    async def open_one() -> None:
        databases.append(await Database.open(url_of(path)))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(open_one())
    for database in databases:
        await database.close()
    assert len(databases) == 4


async def test_a_schema_from_the_future_is_refused_with_both_revisions(path: Path) -> None:
    await (await Database.open(url_of(path))).close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = 'from-2031'")
    raw.close()
    with pytest.raises(StoreError, match=r"from-2031.*newer sleeper.*\d{4}"):
        await Database.open(url_of(path))


async def test_an_older_schema_is_refused_where_migrations_are_forbidden(path: Path) -> None:
    with pytest.raises(StoreError, match=r"revision none .* needs \d{4}"):
        await Database.open(url_of(path), migrate=False)


async def test_a_database_of_somebody_else_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE payroll (name TEXT)")
    raw.close()
    with pytest.raises(StoreError, match="tables that are not sleeper's"):
        await Database.open(url_of(path))


async def test_a_locked_database_is_named_as_such(path: Path) -> None:
    await (await Database.open(url_of(path))).close()
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreError, match="locked by another process"):
            await Database.open(url_of(path), lock_timeout_seconds=0.05)
    finally:
        raw.close()


async def test_a_read_only_database_is_named_as_such(path: Path) -> None:
    await (await Database.open(url_of(path))).close()
    with pytest.raises(StoreError, match="read-only: give this user the right"):
        await Database.open(f"sqlite+aiosqlite:///file:{path}?mode=ro&uri=true")


def test_a_file_that_is_no_database_is_named_as_such(path: Path) -> None:
    path.write_bytes(b"no database at all, but long enough to be looked at " * 40)
    with pytest.raises(StoreError, match="not a database"):
        asyncio.run(Database.open(url_of(path)))


async def test_a_directory_in_place_of_the_file_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        await Database.open(url_of(tmp_path))


async def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere, does not exist: create it"):
        await Database.open(url_of(tmp_path / "nowhere" / "sleeper.db"))


@pytest.mark.parametrize("url", ["", "sleeper.db", "sqlite:///sync.db", "nosuch+driver://host/db"])
async def test_an_url_that_cannot_work_is_explained(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match=r"database\.url"):
        await Database.open(url)


async def test_a_checkpoint_folds_the_log_into_the_file(path: Path) -> None:
    async with await Database.open(url_of(path)) as database:
        log = path.with_name("sleeper.db-wal")
        assert log.stat().st_size > 0
        await database.checkpoint()
        assert log.stat().st_size == 0


PROGRAM = """
import asyncio, sys
from sleeper.errors import StoreError
from sleeper.store.engine import Database

async def main(url):
    try:
        async with await Database.open(url) as database, database.read():
            print("opened")
    except StoreError:
        print("refused")

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize(("content", "outcome"), [(b"", "opened"), (b"garbage" * 200, "refused")])
def test_a_process_ends_whether_its_database_was_opened_or_refused(
    path: Path, content: bytes, outcome: str
) -> None:
    """A thread of aiosqlite's that is left over would keep it, or complain on stderr."""
    path.write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, url_of(path)],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.stdout, done.stderr) == (f"{outcome}\n", "")


async def test_too_many_readers_at_once_are_an_error_of_ours(tmp_path: Path) -> None:
    """Whoever asks for statements without end must not end the daemon by it."""
    url = f"sqlite+aiosqlite:///{tmp_path}/sleeper.db"
    async with (
        await Database.open(url, lock_timeout_seconds=0.2) as database,
        AsyncExitStack() as readers,
    ):

        async def read_without_end() -> None:
            for _ in range(50):
                await readers.enter_async_context(database.read())

        with pytest.raises(StoreError, match="has no connection left"):
            await read_without_end()
