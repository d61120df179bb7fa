"""What one decision costs, over 10,000 warm Spaces of mixed policies and states.

CPU time of this process, so that neighbours on the machine do not count. As a share within the run
it stands against formatting one instant by ``strftime``, which needs no code of ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

from metrics.core.refs import SpaceRef
from metrics.core.signals import SignalName
from sleeper.core.decide import decide
from sleeper.core.policy import PolicyReading
from sleeper.core.snapshot import Snapshot
from tests.bench.figure import Bench, Figure
from tests.core.values import NOW, api, hazard, minutes, policy, sleep, snapshot, touch

SPACES = 10_000
ROUNDS = 10

_WHAT = f"`decide`, each of {SPACES:,} warm Spaces"
PER_SPACE = Figure(name=_WHAT, unit="µs", at_most=20.0, places=1, note="CPU")
PER_FORMAT = Figure(name=f"{_WHAT} ÷ one strftime", places=1)

_ANNOTATIONS = (
    {"sleep-after": "1h"},
    {"sleep-after": "8h", "notice": "30m"},
    {"sleep-after": "1h", "awake-hours": "Mon-Fri 08:00-10:00", "timezone": "Europe/Berlin"},
    {"awake-hours": "Mon-Fri 08:00-19:00; Sat 10:00-14:00", "timezone": "America/New_York"},
    {"sleep-after": "30m", "keep-awake-until": "2026-11-19T00:00:00Z"},
)


def make_spaces() -> Iterator[tuple[Snapshot, PolicyReading]]:
    """Two in five are in use, two in five asleep, the rest idle or held by a hazard."""
    readings = [policy(annotations) for annotations in _ANNOTATIONS]
    signals = {SignalName.API: api(NOW - minutes(5))}
    for number in range(SPACES):
        used = touch(NOW - timedelta(seconds=number))
        facts = snapshot(last_activity=used, cursor=NOW - timedelta(days=1), signals=signals)
        if number % 5 < 2:
            facts = replace(facts, sleep=sleep())
        elif number % 10 == 4:
            facts = replace(facts, hazards=(hazard(),))
        space = SpaceRef(uid=f"uid-{number}", name=f"team-{number}", tenant="team")
        yield replace(facts, space=space), readings[number // 5 % len(readings)]


def micros(work: Callable[[], None]) -> float:
    """CPU microseconds of the quickest of several rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best * 1e6


async def measure() -> Mapping[Figure, float]:
    """Decide on all of them, over and over."""
    spaces = list(make_spaces())

    def decide_all() -> None:
        for facts, reading in spaces:
            decide(facts, reading, NOW)

    def format_all() -> None:
        for _ in spaces:
            NOW.strftime("%Y-%m-%dT%H:%M:%SZ")

    decide_all()  # warm: schedules are worked out once a day and zone
    per_space = micros(decide_all) / SPACES
    per_format = micros(format_all) / SPACES
    return {PER_SPACE: per_space, PER_FORMAT: per_space / per_format}


BENCH = Bench(figures=(PER_SPACE, PER_FORMAT), measure=measure)
