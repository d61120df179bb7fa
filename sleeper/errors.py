"""The error tree of the ``sleeper`` package.

::

    SleeperError
    ├── ConfigError            a setting that cannot be used; names it, its value, what is expected
    ├── StoreError             the database is locked, read-only, missing or from the future
    ├── NotReadyError          asked for what is not known yet; the sentence says what is waited for
    └── KubeError              sleeper.kube.errors: one class per way the API server says no

Expected outcomes (verdicts, step results) are values, not exceptions.
"""

from __future__ import annotations


class SleeperError(Exception):
    """Base of every error that sleeper raises on purpose."""


class ConfigError(SleeperError):
    """A setting cannot be used as it is. The sentence names setting, value and expected form."""


class StoreError(SleeperError):
    """The database cannot be used as it is."""


class NotReadyError(SleeperError):
    """Whoever answered now would guess. The sentence says what is not known yet."""
