"""How constraints and indexes of our tables are named, so that migrations can name them too."""

from __future__ import annotations

from typing import Final

NAMING_CONVENTION: Final = {
    "pk": "pk_%(table_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
}
"""For ``MetaData(naming_convention=…)`` of every store module."""
