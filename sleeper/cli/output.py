"""Tables and colours for people; plain text when nobody watches."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click

_GAP = "  "


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their content: with colour on a terminal, plain text elsewhere."""
    if sys.stdout.isatty():
        _print_rich(header, rows)
        return
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        line = _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


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
