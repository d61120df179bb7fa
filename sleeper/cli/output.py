"""Tables and colours for people; plain text when nobody watches."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import click

from sleeper.core.durations import format_duration, format_instant, parse_instant

_GAP: Final = "  "
_HOUR: Final = timedelta(hours=1)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their content: with colour on a terminal, plain text elsewhere."""
    if sys.stdout.isatty():
        _print_rich(header, rows)
        return
    for line in columns((header, *rows)):
        click.echo(line)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of equal length as lines, each column as wide as its widest cell."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def relative(instant: str, *, now: str, exact: bool = False) -> str:
    """``in 22s`` or ``3m ago``.

    Args:
        instant: RFC 3339; whatever else stands there (anybody may write an annotation) is shown as
            it is.
        now: RFC 3339.
        exact: the instant itself, too.
    """
    try:
        at, then = parse_instant(instant), parse_instant(now)
    except ValueError:
        return instant
    distance = _coarse(abs(at - then))
    text = f"in {distance}" if at > then else f"{distance} ago"
    return f"{format_instant(at)} ({text})" if exact else text


def _coarse(duration: timedelta) -> str:
    """Two units at most: nobody reads the seconds of three days."""
    for limit, unit in ((timedelta(days=1), timedelta(hours=1)), (_HOUR, timedelta(minutes=1))):
        if duration >= limit:
            return format_duration(duration // unit * unit)
    return format_duration(duration)


def print_json(value: Any) -> None:
    """Indented JSON."""
    click.echo(json.dumps(value, indent=2))


def print_yaml(value: Any) -> None:
    """YAML, in the order of the value."""
    import yaml

    click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)


def _print_rich(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console().print(table)


_STYLES = {
    "Awake": "green",
    "Drowsy": "yellow",
    "FallingAsleep": "yellow",
    "Asleep": "blue",
    "Waking": "cyan",
}
