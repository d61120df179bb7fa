"""One value as it stands in a file or the environment, turned into the type of its setting.

Each reader raises ValueError with the expected form in it; the caller adds name and value.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Union, get_args, get_origin
from zoneinfo import ZoneInfo

from sleeper.core.durations import Never, format_duration, parse_duration
from sleeper.core.schedule import AwakeHours, parse_awake_hours

SleepAfter: Final = timedelta | Never


def read_value(wanted: Any, value: Any) -> Any:
    """``value`` as type ``wanted``.

    Raises:
        ValueError: it cannot be read as that; the sentence says what was expected.
    """
    if wanted in _READERS:
        return _READERS[wanted](value)
    if isinstance(wanted, type) and issubclass(wanted, StrEnum):
        return _choice(wanted, value)
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        return None if value is None else read_value(_without_none(arguments), value)
    if origin in (tuple, frozenset):
        if not isinstance(value, list):
            raise ValueError("expected a list")
        return origin(read_value(arguments[0], item) for item in value)
    raise TypeError(f"no reader for settings of type {wanted!r}")


def form_of(wanted: Any) -> str:
    """The expected form of a type, for the documentation."""
    if wanted in _FORMS:
        return _FORMS[wanted]
    if isinstance(wanted, type) and issubclass(wanted, StrEnum):
        return _choices(wanted)
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        return form_of(_without_none(arguments))
    if origin in (tuple, frozenset):
        return f"list of: {form_of(arguments[0])}"
    raise TypeError(f"no form for settings of type {wanted!r}")


def show_value(value: Any) -> Any:  # noqa: PLR0911 one per type
    """A setting's value as it would be written in the file."""
    match value:
        case Never():
            return value.value
        case timedelta():
            return format_duration(value)
        case AwakeHours():
            return value.text
        case Path() | ZoneInfo():
            return str(value)
        case tuple() | frozenset():
            shown = [show_value(item) for item in value]
            return sorted(shown) if isinstance(value, frozenset) else shown
        case StrEnum():
            return value.value
        case _:
            return value


def _without_none(arguments: tuple[Any, ...]) -> Any:
    rest = tuple(a for a in arguments if a is not types.NoneType)
    return Union[rest]  # noqa: UP007 built from a tuple


def _text(value: Any) -> str:
    if isinstance(value, str) and value:
        return value
    raise ValueError("expected text")


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("expected `true` or `false`")


def _whole(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("expected a whole number")


def _number(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
        if number - number == 0:  # neither infinite nor NaN
            return number
    raise ValueError("expected a number")


def _duration(value: Any) -> timedelta:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return parse_duration(_text(value))


def _sleep_after(value: Any) -> timedelta | Never:
    if value == Never.NEVER.value:
        return Never.NEVER
    try:
        return _duration(value)
    except ValueError:
        raise ValueError(f"expected {_FORMS[SleepAfter]}") from None


def _zone(value: Any) -> ZoneInfo:
    name = _text(value)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("expected an IANA time zone such as `Europe/Berlin`") from None


def _choice(wanted: type[StrEnum], value: Any) -> StrEnum:
    try:
        return wanted(value)
    except ValueError:
        raise ValueError(f"expected {_choices(wanted)}") from None


def _choices(wanted: type[StrEnum]) -> str:
    return " or ".join(f"`{choice}`" for choice in wanted)


_READERS: Final[Mapping[Any, Callable[[Any], Any]]] = {
    str: _text,
    bool: _flag,
    int: _whole,
    float: _number,
    Path: lambda value: Path(_text(value)).expanduser(),
    timedelta: _duration,
    SleepAfter: _sleep_after,
    ZoneInfo: _zone,
    AwakeHours: lambda value: parse_awake_hours(_text(value)),
}

_FORMS: Final[Mapping[Any, str]] = {
    str: "text",
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    Path: "path",
    timedelta: "a duration such as `90m`, `2h30m`, `1d`, or a number of seconds",
    SleepAfter: (
        "a duration such as `90m`, `2h30m`, `1d`, or a number of seconds, more than 0 and at most "
        "ten years; or `never`"
    ),
    ZoneInfo: "an IANA time zone such as `Europe/Berlin`",
    AwakeHours: "`Mon-Fri 08:00-19:00; Sat 10:00-14:00`",
}
