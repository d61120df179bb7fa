"""The migrations lead exactly to the tables that the code declares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine, inspect

from sleeper.store.schema import alembic_config, all_metadata, bring_up_to_date


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def test_the_newest_revision_is_what_the_code_declares(connection: Connection) -> None:
    bring_up_to_date(connection, migrate=True)
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    declared = all_metadata()  # alembic takes several; its annotation knows of one
    assert compare_metadata(context, declared) == []  # type: ignore[arg-type]


def test_no_table_is_declared_twice() -> None:
    names = [name for metadata in all_metadata() for name in metadata.tables]
    assert len(names) == len(set(names))


def test_every_migration_can_be_taken_back(connection: Connection) -> None:
    bring_up_to_date(connection, migrate=True)
    command.downgrade(alembic_config(connection), "base")
    assert inspect(connection).get_table_names() == ["alembic_version"]
    command.upgrade(alembic_config(connection), "head")
