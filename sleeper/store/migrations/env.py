"""Alembic's entry: run the migrations on the connection that the program has opened."""

from __future__ import annotations

from alembic import context

from sleeper.store.schema import all_metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=all_metadata(),
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
