"""``sleeper config check`` and ``sleeper config show``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final

import click

_PASSWORD: Final = re.compile(r"(?<=://)([^:/@\s]*):([^@/\s]+)@")
_PATH: Final = click.option(
    "--config",
    "path",
    envvar="SLEEPER_CONFIG",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="YAML file with the settings. Without one: environment and defaults.",
)


@click.group()
def config() -> None:
    """Check or show the settings that `sleeper run` would use."""


@config.command()
@_PATH
@click.option(
    "--syntax-only",
    is_flag=True,
    help="Look at the settings alone, not at the files that they name: for another machine's.",
)
def check(path: Path | None, syntax_only: bool) -> None:
    """Say whether these settings can be used on this machine; names every problem.

    Nobody is connected to, and no database is opened.
    """
    from sleeper.config import load_config

    loaded = load_config(path, os.environ)
    if not syntax_only:
        from sleeper import preflight

        preflight.require(loaded.config)
    click.echo("The settings can be used.")


@config.command()
@_PATH
def show(path: Path | None) -> None:
    """Show every setting with its effective value and who set it; passwords are left out."""
    from sleeper.config import load_config

    loaded = load_config(path, os.environ)
    rows = list(_rows(loaded.config, ""))
    for name, value in rows:
        click.echo(f"{name}: {value}  # {loaded.sources[name]}")


def _rows(section: Any, prefix: str) -> Iterator[tuple[str, str]]:
    from sleeper.config.reading import setting_fields

    for declared, wanted in setting_fields(type(section)):
        value = getattr(section, declared.name)
        name = prefix + declared.name
        if is_dataclass(wanted):
            yield from _rows(value, f"{name}.")
        else:
            yield name, _shown(value, secret=declared.metadata["secret"])


def _shown(value: Any, *, secret: bool) -> str:
    import json

    from sleeper.config.values import show_value

    if secret and isinstance(value, str):
        value = _PASSWORD.sub(r"\1:(not shown)@", value)
    return json.dumps(show_value(value), default=_as_mapping)


def _as_mapping(value: Any) -> dict[str, Any]:
    return {declared.name: getattr(value, declared.name) for declared in fields(value)}
