"""The database: engine, schema check and migrations.

The only place that knows all tables together; the tables themselves are declared in
``metrics.store`` and ``billing.store``.
"""
