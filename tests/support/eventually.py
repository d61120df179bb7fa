"""Waiting for a condition, with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")


class NotInTimeError(AssertionError):
    """The condition did not hold before the deadline."""


@overload
async def eventually(
    condition: Callable[[], Awaitable[T | None]],
    *,
    within: float = ...,
    every: float = ...,
    what: str = ...,
) -> T: ...


@overload
async def eventually(
    condition: Callable[[], T | None], *, within: float = ..., every: float = ..., what: str = ...
) -> T: ...


async def eventually(
    condition: Callable[[], Any], *, within: float = 10.0, every: float = 0.1, what: str = ""
) -> Any:
    """Ask ``condition`` until its answer is true, and return that answer.

    An ``AssertionError`` counts as "not yet", so that a condition may be a few plain asserts.

    Args:
        condition: a function or coroutine function; asked at least once.
        within: seconds until this fails.
        every: seconds between two questions.
        what: what was waited for, for the message.

    Raises:
        NotInTimeError: with the last answer or assertion.
    """
    deadline = asyncio.get_running_loop().time() + within
    while True:
        try:
            answer = condition()
            value = await answer if inspect.isawaitable(answer) else answer
            if value:
                return value
            last = f"last answer: {value!r}"
        except AssertionError as error:
            last = f"last failure: {error}"
        if asyncio.get_running_loop().time() >= deadline:
            raise NotInTimeError(f"{what or 'condition'}: not within {within:g} s; {last}")
        await asyncio.sleep(every)


def eventually_sync(
    condition: Callable[[], T | None], *, within: float = 10.0, every: float = 0.1, what: str = ""
) -> T:
    """The same for tests without an event loop."""
    deadline = time.monotonic() + within  # noqa: TID251 - a test's deadline is real time
    while True:
        try:
            if value := condition():
                return value
            last = f"last answer: {value!r}"
        except AssertionError as error:
            last = f"last failure: {error}"
        if time.monotonic() >= deadline:  # noqa: TID251
            raise NotInTimeError(f"{what or 'condition'}: not within {within:g} s; {last}")
        time.sleep(every)
