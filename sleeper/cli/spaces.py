"""``sleeper spaces``: reads the namespaces' annotations, so it works with the daemon down.

What the configuration adds to a Space's policy the daemon alone knows: it is asked for that, and
where it does not answer, what no annotation says is shown as unknown.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from sleeper.cli.exits import CommandError
from sleeper.cli.kubernetes import (
    DaemonSign,
    Target,
    connect,
    context_option,
    daemon_sign,
    get_space,
    kubeconfig_option,
    list_spaces,
)
from sleeper.cli.output import print_json, print_table, print_yaml, relative
from sleeper.cli.server import ask, server_option
from sleeper.core import names
from sleeper.core.durations import format_instant
from sleeper.core.objects import Namespace
from sleeper.core.policy import PolicyDefaults, Source, read_policy
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
_LAST_WRITTEN: Final = (
    "What is shown is what was written last; until one runs, nothing sleeps and nothing wakes."
)
_INSTANTS: Final = frozenset({"next", "last_activity", "sleeping_since"})
_HELD: Final[Mapping[str, str]] = {
    "sleep_after": names.SLEEP_AFTER,
    "awake_hours": names.AWAKE_HOURS,
}
"""Columns of a Space's policy → the annotation that comes first."""

_NOT_KNOWN: Final = "?"
_Told = Mapping[str, Mapping[str, Any]]
"""What the daemon says of each Space, by the uid of its namespace."""


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
@server_option
def spaces(
    name: str | None, output: str, kubeconfig: Path | None, context: str | None, server: str
) -> None:
    """List Spaces, or one, with power state and reason.

    All forms but `table` show the policy that holds, and where each value comes from. What no
    annotation says the daemon is asked for.
    """
    target = Target(kubeconfig=kubeconfig, context=context)
    found, sign = asyncio.run(_read(name, target, ask_for_daemon=output in {"table", "wide"}))
    told, silent_because = ({}, None) if output == "table" else _ask(server)
    rows = [_row(namespace, told) for namespace in found]
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
        if sign is not None and not sign.runs:
            click.echo(f"No daemon runs: {sign.told}. {_LAST_WRITTEN}", err=True)
        if silent_because is not None and any(
            _cell(row, column, now=now) == _NOT_KNOWN for row in rows for column in _HELD
        ):
            click.echo(
                f"{_NOT_KNOWN}: no annotation says it; what the configuration says only the daemon "
                f"knows, and {silent_because}",
                err=True,
            )
    for row in rows:
        if row["no_space"] is not None:
            click.echo(f"{row['space']} is no Space: {row['no_space']}", err=True)


async def _read(
    name: str | None, target: Target, *, ask_for_daemon: bool
) -> tuple[list[Namespace], DaemonSign | None]:
    async with connect(target) as client:
        found = await list_spaces(client) if name is None else [await get_space(client, name)]
        return found, await daemon_sign(client) if ask_for_daemon and found else None


def _ask(server: str) -> tuple[_Told, str | None]:
    """What the daemon says, or why it says nothing."""
    try:
        said = ask(server, "/api/v1/spaces", expects="spaces")
        return {one["uid"]: one for one in said["spaces"]}, None
    except CommandError as error:
        return {}, str(error)
    except (KeyError, TypeError):
        return {}, f"what answers at {server} is another version of it"


def _row(namespace: Namespace, told: _Told) -> dict[str, Any]:
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
        **{column: _held(namespace, column, told) for column in _HELD},
        "epoch": meta.annotation(names.EPOCH),
    }


def _cell(row: Mapping[str, Any], column: str, *, now: str) -> str:
    """Instants as distances: people want to know how long ago, programs take JSON."""
    value = row[column]
    if column in _HELD:
        return _UNKNOWN if row["no_space"] is not None else _shown(value)
    if not value:
        return _UNKNOWN
    if column not in _INSTANTS:
        return str(value)
    shown = relative(value, now=now)
    # The annotation is written seldom: what it foresaw has been put off by use since.
    return _UNKNOWN if column == "next" and shown.endswith(" ago") else shown


def _held(namespace: Namespace, column: str, told: _Told) -> dict[str, Any]:
    """A value of the policy that holds, with its source; without one it is not known."""
    meta = namespace.metadata
    try:
        said = told[meta.uid][column]
        return {key: said[key] for key in ("value", "source", "refused")}
    except (KeyError, TypeError):
        pass
    # An annotation that can be read holds, whatever the configuration says.
    key = _HELD[column]
    text = meta.annotation(key)
    problems = {
        note.key: str(note)
        for note in read_policy(meta.annotations or {}, PolicyDefaults(), has_routes=False).problems
    }
    if text is None or key in problems:
        return {"value": None, "source": None, "refused": problems.get(key)}
    return {"value": text, "source": Source.ANNOTATION.value, "refused": None}


def _shown(held: Mapping[str, Any]) -> str:
    if held["source"] is None:
        return _NOT_KNOWN
    refused = "; its annotation cannot be read" if held["refused"] else ""
    return f"{held['value']} ({held['source']}{refused})"


def _activity(text: str | None) -> str | None:
    """``human get pods (api/main)``; None where it is missing or somebody wrote nonsense."""
    try:
        info = json.loads(text or "")
        return f"{info['who']} {info['verb']} {info['resource']} ({info['source']})"
    except (ValueError, KeyError, TypeError):
        return None
