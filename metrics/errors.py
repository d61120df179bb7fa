"""The error tree of the ``metrics`` package.

::

    MetricsError
    └── QuantityError          a resource quantity that does not follow Kubernetes' grammar
"""

from __future__ import annotations


class MetricsError(Exception):
    """Base of every error that metrics raises on purpose."""


class QuantityError(MetricsError):
    """A resource quantity cannot be read."""

    def __init__(self, text: str) -> None:
        shown = text if len(text) <= 80 else f"{text[:80]}…"  # noqa: PLR2004 for people's eyes
        super().__init__(
            f"quantity {shown!r} cannot be read: expected a number that is not negative, with a "
            "suffix such as m, k, M, G, Ki, Mi, Gi"
        )
