"""The read API: Spaces, the explanation of one, and usage statements.

Its numbers are JSON integers of any size: byte·seconds of a large cluster exceed 2⁵³.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final, Protocol, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web

from billing.core.periods import Grain, Period
from billing.core.statement import GroupBy, Line, Statement, StatementQuery
from metrics.core.clock import Clock, to_micros
from metrics.core.instants import from_epoch, plus
from sleeper.api.problems import Problem
from sleeper.core.durations import format_duration, format_instant, parse_instant

DEFAULT_RANGE: Final = timedelta(days=1)

_Choice = TypeVar("_Choice", bound=StrEnum)


class SpaceReader(Protocol):
    """What is known of Spaces; implemented by the daemon. Values are dataclasses.

    Both raise ``NotReadyError`` as long as it is not known what sleeps; it is answered with 503.
    """

    def overview(self) -> Sequence[object]:
        """One value for each Space, in the order in which they are shown."""
        ...

    def explanation(self, name: str) -> object | None:
        """Why the Space is as it is; None: no Space of that name."""
        ...

    def missing(self, name: str) -> str:
        """Why there is no explanation of ``name``, as a sentence."""
        ...


class StatementReader(Protocol):
    """Who makes statements; implemented by :class:`sleeper.control.metering.Meter`."""

    async def statement(self, query: StatementQuery) -> Statement:
        """The answer to ``query``; ``PeriodError`` where it asks for too much."""
        ...


def add_read_routes(
    app: web.Application, *, spaces: SpaceReader, statements: StatementReader, clock: Clock
) -> None:
    """Serve ``/api/v1/spaces``, ``/api/v1/spaces/{name}`` and ``/api/v1/usage``."""

    async def overview(_request: web.Request) -> web.Response:
        return _json({"spaces": [_plain(line) for line in spaces.overview()]})

    async def explanation(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        found = spaces.explanation(name)
        if found is None:
            raise Problem(HTTPStatus.NOT_FOUND, spaces.missing(name))
        return _json(_plain(found))

    async def usage(request: web.Request) -> web.Response:
        query = _statement_query(request.query, now=clock.now())
        return _json(statement_as_json(await statements.statement(query)))

    app.router.add_get("/api/v1/spaces", overview)
    app.router.add_get("/api/v1/spaces/{name}", explanation)
    app.router.add_get("/api/v1/usage", usage)


def statement_as_json(statement: Statement) -> dict[str, Any]:
    """A statement as the read API shows it."""
    query = statement.query
    return {
        "by": query.by.value,
        "per": query.grain.value,
        "since": _instant(query.since),
        "until": _instant(query.until),
        "zone": str(query.zone),
        "lines": [_line(line) for line in statement.lines],
        "total": asdict(statement.total),
        "covered_seconds": statement.covered_seconds,
        "seen_until": None if statement.seen_until is None else _instant(statement.seen_until),
        "gaps": [_period(gap) for gap in statement.gaps],
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        **_period(line.period),
        "tenant": line.tenant,
        "space": line.space_name,
        "space_uid": line.space_uid,
        **asdict(line.amounts),
        "covered_seconds": line.covered_seconds,
    }


def _period(period: Period) -> dict[str, str]:
    return {"start": _instant(period.start), "end": _instant(period.end)}


def _instant(seconds: int) -> str:
    return format_instant(from_epoch(seconds))


def _statement_query(asked: Mapping[str, str], *, now: datetime) -> StatementQuery:
    unknown = sorted(set(asked) - {"by", "per", "since", "until", "zone"})
    if unknown:
        raise Problem(HTTPStatus.BAD_REQUEST, f"unknown parameter {unknown[0]!r}")
    until = _read_instant(asked, "until") or now
    since = _read_instant(asked, "since") or plus(until, -DEFAULT_RANGE)
    return StatementQuery(
        since=_seconds(since),
        until=_seconds(until),
        grain=_choice(asked, "per", Grain, Grain.DAY),
        by=_choice(asked, "by", GroupBy, GroupBy.SPACE),
        zone=_zone(asked.get("zone", "UTC")),
    )


def _seconds(at: datetime) -> int:
    """Whole seconds, rounded down; a float would round the calendar's last one up."""
    return to_micros(at) // 1_000_000


def _read_instant(asked: Mapping[str, str], name: str) -> datetime | None:
    if name not in asked:
        return None
    try:
        return parse_instant(asked[name])
    except ValueError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, f"{name}: {error}") from None


def _choice(
    asked: Mapping[str, str], name: str, choices: type[_Choice], default: _Choice
) -> _Choice:
    try:
        return choices(asked.get(name, default.value))
    except ValueError:
        known = ", ".join(choices)
        raise Problem(
            HTTPStatus.BAD_REQUEST, f"{name}: {asked[name]!r} is none of {known}"
        ) from None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            f"zone: {name!r} is not an IANA time zone such as Europe/Berlin",
        ) from None


def _plain(value: object) -> Any:
    """A dataclass as JSON shows it; durations as people write them."""
    return msgspec.to_builtins(value, builtin_types=(timedelta,))


def _duration(value: object) -> str:
    assert isinstance(value, timedelta)
    return format_duration(value)


def _json(value: object) -> web.Response:
    text = json.dumps(value, default=_duration) + "\n"
    return web.Response(text=text, content_type="application/json")
