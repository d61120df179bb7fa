"""The first tables.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.create_table(
        "meter_span",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("start_s", sa.BigInteger(), nullable=False),
        sa.Column("end_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_meter_span")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "power_interval",
        sa.Column("space_uid", sa.String(length=64), nullable=False),
        sa.Column("start_s", sa.BigInteger(), nullable=False),
        sa.Column("end_s", sa.BigInteger(), nullable=True),
        sa.Column("space_name", sa.String(length=63), nullable=False),
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("freed_cpu_millis", sa.BigInteger(), nullable=False),
        sa.Column("freed_memory_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("space_uid", "start_s", name=op.f("pk_power_interval")),
    )
    with op.batch_alter_table("power_interval", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_power_interval_end_s"), ["end_s"], unique=False)

    op.create_table(
        "reservation",
        sa.Column("pod_uid", sa.String(length=64), nullable=False),
        sa.Column("start_s", sa.BigInteger(), nullable=False),
        sa.Column("end_s", sa.BigInteger(), nullable=True),
        sa.Column("space_uid", sa.String(length=64), nullable=False),
        sa.Column("space_name", sa.String(length=63), nullable=False),
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("cpu_millis", sa.BigInteger(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pod_uid", "start_s", name=op.f("pk_reservation")),
    )
    with op.batch_alter_table("reservation", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_reservation_end_s"), ["end_s"], unique=False)

    op.create_table(
        "space_state",
        sa.Column("space_uid", sa.String(length=64), nullable=False),
        sa.Column("rules", sa.String(length=255), nullable=False),
        sa.Column("rules_since_us", sa.BigInteger(), nullable=False),
        sa.Column("woken_at_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("space_uid"),
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_table("space_state")
    with op.batch_alter_table("reservation", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_reservation_end_s"))

    op.drop_table("reservation")
    with op.batch_alter_table("power_interval", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_power_interval_end_s"))

    op.drop_table("power_interval")
    op.drop_table("meter_span")
