"""``sleeper explain``: what the daemon saw, what it decided, by which rule, what would change it.

What there is to say is decided by :mod:`sleeper.core.explain` alone; here it is laid out.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click

from sleeper.cli.output import columns, print_json, print_yaml, relative
from sleeper.cli.server import ask, server_option

_INDENT: Final = "  "
_DECIDED: Final = "<- decided"


@click.command()
@click.argument("space")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", help="Form."
)
@server_option
def explain(space: str, output: str, server: str) -> None:
    """Say what was seen of a Space, what was decided, why, and what would change it."""
    answer = ask(server, f"/api/v1/spaces/{urllib.parse.quote(space, safe='')}", expects="space")
    if output == "json":
        print_json(answer)
    elif output == "yaml":
        print_yaml(answer)
    else:
        click.echo("\n".join(_lines(answer)))


def _lines(answer: Mapping[str, Any]) -> Iterator[str]:
    yield f"{answer['space']} (tenant {answer['tenant']}) is {answer['state']}"
    yield from _section("decision", _decision(answer))
    yield from _section("saw", [(fact["about"], fact["what"]) for fact in answer["saw"]])
    settings = [
        (
            one["key"],
            one["value"],
            " ".join(filter(None, (one["source"], one.get("where")))),
            _DECIDED if one["decided"] else "",
            one.get("refused") or "",
        )
        for one in answer["settings"]
    ]
    yield from _section("settings", settings)
    for title in ("problems", "warnings", "would_change"):
        yield from _section(title.replace("_", " "), [(line,) for line in answer[title]])


def _decision(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    at = answer["at"]
    yield "verdict", answer["verdict"]
    yield "rule", f"{answer['reason']}: {answer['rule']}"
    if answer["message"] != answer["rule"]:
        yield "here", answer["message"]
    for key in ("looks_again_at", "next_transition"):
        if answer[key] is not None:
            yield key.replace("_", " "), relative(answer[key], now=at, exact=True)
    if not answer["acts"]:
        yield "mode", "observe: nothing is put to sleep; what sleeps is still woken"


def _section(title: str, rows: Sequence[Sequence[str]] | Iterator[Sequence[str]]) -> Iterator[str]:
    """A title and its rows in columns; nothing where there are none."""
    laid_out = columns(tuple(rows))
    if laid_out:
        yield ""
        yield f"{title}:"
        yield from (_INDENT + line for line in laid_out)
