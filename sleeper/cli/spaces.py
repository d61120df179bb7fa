"""``sleeper spaces``: reads the namespaces' annotations, so it works with the daemon down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from sleeper.cli.kubernetes import (
    Target,
    connect,
    context_option,
    get_space,
    kubeconfig_option,
    list_spaces,
)
from sleeper.cli.output import print_json, print_table, print_yaml, relative
from sleeper.core import names
from sleeper.core.durations import format_instant
from sleeper.core.objects import Namespace
from sleeper.core.reasons import Reason
from sleeper.core.space import no_space_because, tenant_label
from sleeper.telemetry.clock import SystemClock

_UNKNOWN: Final = "–"
_COLUMNS: Final = ("tenant", "space", "state", "reason", "next", "last_activity")
_WIDE: Final = (*_COLUMNS, "activity", "sleeping_since", "sleep_after", "awake_hours", "epoch")
_NO_STATE: Final = (
    "A Space without a state: no daemon in mode act has got to it yet. In mode observe nothing is "
    "written on namespaces; `sleeper explain SPACE` asks the daemon itself."
)
_INSTANTS: Final = frozenset({"next", "last_activity", "sleeping_since"})


@click.command()
@click.argument("name", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "json", "yaml"]),
    default="table",
    help="Form of the answer.",
)
@kubeconfig_option
@context_option
def spaces(name: str | None, output: str, kubeconfig: Path | None, context: str | None) -> None:
    """List Spaces, or one, with power state and reason."""
    rows = asyncio.run(_read(name, Target(kubeconfig=kubeconfig, context=context)))
    if output == "json":
        print_json(rows if name is None else rows[0])
    elif output == "yaml":
        print_yaml(rows if name is None else rows[0])
    elif not rows:
        click.echo(f"No namespace carries the label {names.LABEL_TENANT}=<tenant>.", err=True)
    else:
        columns = _WIDE if output == "wide" else _COLUMNS
        header = [column.replace("_", " ").upper() for column in columns]
        now = format_instant(SystemClock().now())
        print_table(header, [[_cell(row, c, now=now) for c in columns] for row in rows])
        if any(row["state"] is None and row["no_space"] is None for row in rows):
            click.echo(_NO_STATE, err=True)
    for row in rows:
        if row["no_space"] is not None:
            click.echo(f"{row['space']} is no Space: {row['no_space']}", err=True)


async def _read(name: str | None, target: Target) -> list[dict[str, Any]]:
    async with connect(target) as client:
        found = await list_spaces(client) if name is None else [await get_space(client, name)]
    return [_row(namespace) for namespace in found]


def _row(namespace: Namespace) -> dict[str, Any]:
    meta = namespace.metadata
    no_space = no_space_because(namespace)
    return {
        "tenant": tenant_label(namespace),
        "space": meta.name,
        "state": meta.annotation(names.POWER_STATE),
        "reason": meta.annotation(names.REASON) if no_space is None else Reason.NOT_A_SPACE.value,
        "no_space": no_space,
        "next": meta.annotation(names.NEXT_TRANSITION),
        "last_activity": meta.annotation(names.LAST_ACTIVITY),
        "activity": _activity(meta.annotation(names.LAST_ACTIVITY_INFO)),
        "sleeping_since": meta.annotation(names.SLEEPING_SINCE),
        "sleep_after": meta.annotation(names.SLEEP_AFTER),
        "awake_hours": meta.annotation(names.AWAKE_HOURS),
        "epoch": meta.annotation(names.EPOCH),
    }


def _cell(row: Mapping[str, Any], column: str, *, now: str) -> str:
    """Instants as distances: people want to know how long ago, programs take JSON."""
    value = row[column]
    if not value:
        return _UNKNOWN
    if column not in _INSTANTS:
        return str(value)
    shown = relative(value, now=now)
    # The annotation is written seldom: what it foresaw has been put off by use since.
    return _UNKNOWN if column == "next" and shown.endswith(" ago") else shown


def _activity(text: str | None) -> str | None:
    """``human get pods (api/main)``; None where it is missing or somebody wrote nonsense."""
    try:
        info = json.loads(text or "")
        return f"{info['who']} {info['verb']} {info['resource']} ({info['source']})"
    except (ValueError, KeyError, TypeError):
        return None
