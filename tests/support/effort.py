"""How much work something is, counted and not timed: a busy machine changes nothing about it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def effort(work: Callable[[], object]) -> int:
    """How many lines of Python are run, and functions called, by ``work``.

    Every turn of a loop counts, also inside a comprehension; what C does in one call does not.
    """
    steps = 0

    def trace(_frame: FrameType, _event: str, _arg: object) -> Any:
        nonlocal steps
        steps += 1
        return trace

    before, collects = sys.gettrace(), gc.isenabled()
    gc.disable()  # a collection may call back, whenever it comes
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()
    return steps
