"""``sleeper usage``: what Spaces and tenants used, and what sleeping freed."""

from __future__ import annotations

import csv
import sys
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import click

from sleeper.cli.output import print_json, print_table
from sleeper.cli.server import ask, server_option
from sleeper.core.durations import format_instant, parse_duration, parse_instant

_GIB: Final = 1 << 30
_HOUR: Final = 3600
_AMOUNTS: Final = (
    "cpu_milli_seconds",
    "memory_byte_seconds",
    "freed_cpu_milli_seconds",
    "freed_memory_byte_seconds",
    "awake_seconds",
    "asleep_seconds",
)


@click.command()
@click.option("--by", type=click.Choice(["space", "tenant"]), default="space", show_default=True)
@click.option(
    "--per", type=click.Choice(["minute", "hour", "day"]), default="day", show_default=True
)
@click.option(
    "--since", default="1d", show_default=True, help="An instant, or a duration before now."
)
@click.option("--until", help="An instant, or a duration before now. Default: now.")
@click.option("--zone", default="UTC", show_default=True, help="Whose hours and days.")
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "csv"]), default="table", help="Form."
)
@server_option
def usage(
    by: str, per: str, since: str, until: str | None, zone: str, output: str, server: str
) -> None:
    """Show requests used and freed by Space or tenant, per minute, hour or day."""
    asked = {"by": by, "per": per, "zone": zone, "since": _instant("--since", since)}
    if until is not None:
        asked["until"] = _instant("--until", until)
    statement = ask(server, "/api/v1/usage", asked, expects="covered_seconds")
    if output == "json":
        print_json(statement)
    elif output == "csv":
        _print_csv(statement)
    else:
        _print_table(statement)


def _instant(option: str, text: str) -> str:
    from sleeper.telemetry.clock import SystemClock

    try:
        return format_instant(SystemClock().now() - parse_duration(text))
    except ValueError:
        pass
    try:
        return format_instant(parse_instant(text))
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is neither an instant such as 2026-11-21T18:00:00Z nor a duration such as "
            "12h",
            param_hint=option,
        ) from None


def _print_csv(statement: Any) -> None:
    columns = ("start", "end", "tenant", "space", "space_uid", *_AMOUNTS, "covered_seconds")
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(statement["lines"])


def _print_table(statement: Any) -> None:
    by_space = statement["by"] == "space"
    header = ["FROM", "TENANT", *(["SPACE"] if by_space else [])]
    header += ["CPU h", "MEMORY GiB·h", "FREED CPU h", "FREED GiB·h", "AWAKE", "ASLEEP", "SEEN"]
    zone = ZoneInfo(statement["zone"])
    rows = [
        [
            _label(line["start"], zone),
            line["tenant"],
            *([line["space"]] if by_space else []),
            *_figures(line),
            _share_seen(line["covered_seconds"], _length(line, "start", "end")),
        ]
        for line in statement["lines"]
    ]
    empty = [""] * (2 if by_space else 1)
    seen = _share_seen(statement["covered_seconds"], _length(statement, "since", "until"))
    rows.append(["total", *empty, *_figures(statement["total"]), seen])
    print_table(header, rows)
    click.echo(_coverage(statement))


def _label(instant: str, zone: ZoneInfo) -> str:
    """The beginning of a period on a wall clock of the zone, with its offset unless that is 0."""
    text = datetime.fromisoformat(instant).astimezone(zone).isoformat(" ", "minutes")
    return text.removesuffix("+00:00")


def _length(period: Any, start: str, end: str) -> int:
    """Seconds from one instant of a mapping to another."""
    began, ended = (datetime.fromisoformat(period[key]) for key in (start, end))
    return int((ended - began).total_seconds())


def _share_seen(covered: int, seconds: int) -> str:
    """Rounded down, so that 100% is the whole period; what little was seen is not nothing."""
    percent = 100 * covered // seconds
    return "<1%" if covered and not percent else f"{percent}%"


def _figures(amounts: Any) -> list[str]:
    """Rounded for people; JSON and CSV carry the exact integers."""
    return [
        f"{amounts['cpu_milli_seconds'] / 1000 / _HOUR:.4f}",
        f"{amounts['memory_byte_seconds'] / _GIB / _HOUR:.4f}",
        f"{amounts['freed_cpu_milli_seconds'] / 1000 / _HOUR:.4f}",
        f"{amounts['freed_memory_byte_seconds'] / _GIB / _HOUR:.4f}",
        _clock(amounts["awake_seconds"]),
        _clock(amounts["asleep_seconds"]),
    ]


def _clock(seconds: int) -> str:
    return f"{seconds // _HOUR}:{seconds % _HOUR // 60:02}:{seconds % 60:02}"


def _coverage(statement: Any) -> str:
    asked = _length(statement, "since", "until")
    seen = statement["covered_seconds"]
    line = f"{statement['zone']}; the meter saw {_clock(seen)} of {_clock(asked)}"
    return line if seen >= asked else f"{line}: what it did not see is unknown, not zero"
