"""The schema: every table together, and the migrations that lead to it."""

from __future__ import annotations

from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, inspect

import billing.store
import metrics.store
import sleeper.store.spaces
from sleeper.errors import StoreError


def all_metadata() -> tuple[MetaData, ...]:
    """The tables of every package, as declared next to the code that uses them."""
    return (metrics.store.metadata, billing.store.metadata, sleeper.store.spaces.metadata)


def alembic_config(connection: Connection) -> Config:
    """Alembic on our migrations and on a connection that is already open."""
    config = Config()
    config.set_main_option("script_location", str(files("sleeper.store") / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def bring_up_to_date(connection: Connection, *, migrate: bool) -> None:
    """Bring the schema to the newest revision, within the caller's transaction.

    Args:
        connection: with the write lock held, so that two replicas take turns.
        migrate: False refuses an older schema instead.

    Raises:
        StoreError: the schema is from a newer sleeper or not sleeper's at all, or it is older and
            must not be migrated.
    """
    config = alembic_config(connection)
    script = ScriptDirectory.from_config(config)
    newest = script.get_current_head()
    present = MigrationContext.configure(connection).get_current_revision()
    if present == newest:
        # Changes nothing, and shows now rather than later whether we may write at all.
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")
        return
    known = {revision.revision for revision in script.walk_revisions()}
    if present is not None and present not in known:
        raise StoreError(
            f"the database has schema revision {present}, from a newer sleeper; this one knows "
            f"up to {newest}: run the newer version, or set database.url to another database"
        )
    if present is None and inspect(connection).get_table_names():
        raise StoreError(
            "the database holds tables that are not sleeper's: set database.url to another one"
        )
    if not migrate:
        raise StoreError(
            f"the database has schema revision {present or 'none'} and this sleeper needs {newest}"
        )
    command.upgrade(config, "head")
