"""``sleeper run``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--config",
    "path",
    envvar="SLEEPER_CONFIG",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="YAML file with the settings. Without one: environment and defaults.",
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "json", "console"]),
    default="auto",
    help="auto: for people on a terminal, JSON elsewhere.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    help="Least level that is logged.",
)
def run(path: Path | None, log_format: str, log_level: str) -> None:
    """Run the daemon until it is told to end (SIGTERM or Ctrl-C)."""
    import asyncio
    import os

    from sleeper import preflight
    from sleeper.config import load_config
    from sleeper.daemon import run as run_daemon
    from sleeper.telemetry.logs import LogFormat, configure_logs

    loaded = load_config(path, os.environ)
    preflight.require(loaded.config)
    configure_logs(form=LogFormat(log_format), level=log_level)
    asyncio.run(run_daemon(loaded))
