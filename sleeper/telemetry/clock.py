"""The only module that reads real time and draws real randomness."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime


class SystemClock:
    """Wall and monotonic time of this machine; implements :class:`metrics.core.clock.Clock`."""

    def now(self) -> datetime:
        """Wall time, aware, UTC."""
        return datetime.now(tz=UTC)

    def monotonic(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()


def jittered(seconds: float, *, share: float = 0.2) -> float:
    """``seconds`` moved by up to ``share`` of itself either way, so that retries spread out."""
    return seconds * (1.0 + share * (2.0 * random.random() - 1.0))  # noqa: S311 no secret
