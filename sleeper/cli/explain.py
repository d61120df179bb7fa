"""``sleeper explain``: what the daemon saw, what it decided, by which rule, what would change it.

The answer is shown as it comes, section by section: what there is to say is decided by
:mod:`sleeper.core.explain` alone.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from sleeper.cli.output import print_json, print_yaml
from sleeper.cli.server import ask, server_option

_INDENT: Final = "  "


@click.command()
@click.argument("space")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", help="Form."
)
@server_option
def explain(space: str, output: str, server: str) -> None:
    """Say what was seen of a Space, what was decided, why, and what would change it."""
    answer = ask(server, f"/api/v1/spaces/{urllib.parse.quote(space, safe='')}")
    if output == "json":
        print_json(answer)
    elif output == "yaml":
        print_yaml(answer)
    else:
        click.echo("\n".join(_sections(answer)))


def _sections(answer: Mapping[str, Any]) -> Iterator[str]:
    """Plain facts first, aligned; then each nested part under its name."""
    facts = {key: value for key, value in answer.items() if not isinstance(value, list | dict)}
    width = max((len(key) for key in facts), default=0)
    for key, value in facts.items():
        if value is not None:
            yield f"{_words(key).ljust(width)}{_INDENT}{_plain(value)}"
    for key, value in answer.items():
        if key not in facts and value:
            yield ""
            yield f"{_words(key)}:"
            yield from _items(value)


def _items(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            if part is not None:
                yield f"{_INDENT}{_words(key)}: {_plain(part)}"
    else:
        for part in value:
            yield f"{_INDENT}- {_plain(part)}"


def _plain(value: Any) -> str:
    """One line: ``awake_hours = Mon-Fri … (annotation)`` for a mapping's parts in their order."""
    if isinstance(value, Mapping):
        parts = (f"{_words(k)} {_plain(v)}" for k, v in value.items() if v not in (None, [], {}))
        return ", ".join(parts)
    if isinstance(value, list):
        return ", ".join(_plain(part) for part in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _words(key: str) -> str:
    return key.replace("_", " ")
