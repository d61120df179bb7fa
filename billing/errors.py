"""The error tree of the ``billing`` package.

::

    BillingError
    └── PeriodError            a time range or zone that no statement can be made for
"""

from __future__ import annotations


class BillingError(Exception):
    """Base of every error that billing raises on purpose."""


class PeriodError(BillingError):
    """A time range, grain or zone cannot be used; the sentence names it."""
