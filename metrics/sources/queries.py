"""Every PromQL expression that we send, each with what it returns.

Range selectors are evaluated as instant queries: the answer is a matrix of raw samples in
``(at - range, at]``, not of interpolated steps.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from metrics.core.traffic import Target
from metrics.core.traffic_providers import Provider

SERVER_TIME = "time()"
"""Prometheus's clock: one scalar, seconds since the Unix epoch."""


def alive(provider: Provider, *, over_seconds: float) -> str:
    """Matrix: one sample per target and successful scrape; the value does not matter."""
    return f"{provider.permanent}[{_range(over_seconds)}]"


def listed(provider: Provider, *, over_seconds: float) -> str:
    """Vector: ``up`` (1 or 0) of each target that showed the provider within the range.

    A target that Prometheus no longer intends to scrape has no ``up`` any more.
    """
    seen = f"last_over_time({provider.permanent}[{_range(over_seconds)}])"
    return f"up and on (job, instance) {seen}"


def starts(provider: Provider, targets: Iterable[Target], *, over_seconds: float) -> str:
    """Matrix: start of each target's process, Unix seconds.

    Every exporter has this family, so it is asked for by job and instance.
    """
    chosen = sorted(targets)
    jobs = _one_of({target.job for target in chosen})
    instances = _one_of({target.instance for target in chosen})
    matchers = f"job=~{jobs},instance=~{instances}"
    return f"{provider.start_time}{{{matchers}}}[{_range(over_seconds)}]"


def requests(provider: Provider, *, over_seconds: float) -> str:
    """Matrix: counters of answered requests that prove use, since the start of the process."""
    return f"{provider.requests}{{{provider.used}}}[{_range(over_seconds)}]"


def _range(seconds: float) -> str:
    """A PromQL duration, wider by a millisecond: the instants it joins on are rounded to one."""
    return f"{math.ceil(seconds * 1000) + 1}ms"


def _one_of(values: Iterable[str]) -> str:
    """A quoted PromQL regular expression (RE2, anchored) that matches exactly these strings."""
    pattern = "|".join(_RE2_SPECIAL.sub(r"\\\g<0>", value) for value in sorted(values))
    quoted = pattern.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{quoted}"'


_RE2_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")
