"""The error tree of the ``metrics`` package.

::

    MetricsError
    ├── QuantityError          a resource quantity that does not follow Kubernetes' grammar
    └── PrometheusError        a query gave nothing that may be relied on
        ├── PrometheusDownError       no connection, or no answer in time
        ├── PrometheusRefusedError    an HTTP status other than 200
        ├── PrometheusGarbledError    an answer that is not one of the query API
        └── PrometheusPartialError    an answer with warnings: something may be missing
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


class PrometheusError(MetricsError):
    """A query gave nothing that may be relied on; ``reason`` is CamelCase and stable."""

    reason = "PrometheusError"


class PrometheusDownError(PrometheusError):
    """No connection, or no answer in time."""

    reason = "PrometheusDown"


class PrometheusRefusedError(PrometheusError):
    """An HTTP status other than 200."""

    reason = "PrometheusRefused"


class PrometheusGarbledError(PrometheusError):
    """An answer that is not one of the query API."""

    reason = "PrometheusGarbled"


class PrometheusPartialError(PrometheusError):
    """An answer with warnings: something may be missing, and missing is not idle."""

    reason = "PrometheusPartial"
