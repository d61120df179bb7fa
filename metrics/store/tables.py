"""The tables themselves. Instants are integer microseconds since the epoch."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from metrics.core.clock import from_micros, to_micros
from metrics.naming import NAMING_CONVENTION

Connection = AsyncConnection
"""What every function works on."""

metadata = MetaData(naming_convention=NAMING_CONVENTION)

activity = Table(
    "activity",
    metadata,
    Column("signal", String(32), primary_key=True),
    Column("space_name", String(63), primary_key=True),
    Column("kind", String(16), primary_key=True),  # "latest" or "touch"
    Column("at_us", BigInteger, nullable=False),
    Column("source", String(255), nullable=False),
    Column("actor", String(32), nullable=False),
    Column("verb", String(64), nullable=False),
    Column("resource", String(255), nullable=False),
    Column("stored_us", BigInteger, nullable=False, index=True),
)

watermark = Table(
    "watermark",
    metadata,
    Column("signal", String(32), primary_key=True),
    Column("source", String(255), primary_key=True),
    Column("watermark_us", BigInteger, nullable=True),
    Column("gap_end_us", BigInteger, nullable=True),
    Column("state", Text, nullable=False),  # JSON of the signal's own state machine
    Column("stored_us", BigInteger, nullable=False),
)

gap = Table(
    "gap",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("signal", String(32), nullable=False),
    Column("source", String(255), nullable=False),
    Column("reason", String(64), nullable=False),
    Column("since_us", BigInteger, nullable=True),
    Column("until_us", BigInteger, nullable=False, index=True),
)

stream = Table(
    "stream",
    metadata,
    Column("apiserver", String(255), primary_key=True),
    Column("audit_id", String(64), primary_key=True),
    Column("user", String(255), primary_key=True),
    Column("space_name", String(63), nullable=False),
    Column("resource", String(255), nullable=False),
    Column("target", String(255), nullable=False),
    Column("started_us", BigInteger, nullable=False, index=True),
    Column("closed_us", BigInteger, nullable=True),
    Column("stored_us", BigInteger, nullable=False, index=True),
)

canary = Table(
    "canary",
    metadata,
    Column("audit_id", String(64), primary_key=True),
    Column("apiserver", String(255), nullable=False, index=True),
    Column("sent_us", BigInteger, nullable=False),
    Column("answered_us", BigInteger, nullable=True),
    Column("returned_us", BigInteger, nullable=True),
    Column("server_received_us", BigInteger, nullable=True),
)

sink_session = Table(
    "sink_session",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column("identity", String(255), nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("flushed_us", BigInteger, nullable=False),
)


def insert(connection: Connection, table: Table) -> Any:
    """INSERT of the dialect at hand, for its ``ON CONFLICT``; both spell it alike."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def micros(at: datetime | None) -> int | None:
    """As it is stored; None stays None."""
    return None if at is None else to_micros(at)


def instant(stored: int | None) -> datetime | None:
    """Inverse of :func:`micros`."""
    return None if stored is None else from_micros(stored)
