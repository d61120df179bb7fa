"""Adapters that turn bytes of the outside world into :mod:`metrics.core` values.

``audit`` decodes audit batches, ``prometheus`` asks Prometheus. Nothing here decides anything.
"""
