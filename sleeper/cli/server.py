"""The daemon's read API, as commands ask it."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import click

from sleeper.cli.exits import CommandError, ExitCode

DEFAULT_SERVER: Final = "http://127.0.0.1:8080"
TIMEOUT_SECONDS: Final = 30.0
_CODES: Final[dict[int, ExitCode]] = {
    HTTPStatus.BAD_REQUEST: ExitCode.USAGE,
    HTTPStatus.NOT_FOUND: ExitCode.NOT_FOUND,
}

server_option: Final = click.option(
    "--server",
    envvar="SLEEPER_SERVER",
    show_envvar=True,
    default=DEFAULT_SERVER,
    show_default=True,
    help="URL of the daemon's read API.",
)


def ask(
    server: str, path: str, parameters: Mapping[str, str] | None = None, *, expects: str
) -> Any:
    """The JSON that the daemon answers.

    Args:
        server: URL of the read API.
        path: what is asked.
        parameters: of the query.
        expects: a key that every answer of the daemon has: its port is a popular one.

    Raises:
        CommandError: it does not answer, or says no, or somebody else answers.
    """
    url = server.rstrip("/") + path
    if parameters:
        url += "?" + urllib.parse.urlencode(parameters)
    if not url.startswith(("http://", "https://")):
        raise CommandError(f"--server {server}: expected an http:// URL", ExitCode.USAGE)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 checked
            said = json.load(answer)
    except urllib.error.HTTPError as error:
        raise CommandError(_detail(error), _CODES.get(error.code, ExitCode.ERROR)) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise CommandError(
            f"the daemon's read API at {server} does not answer ({reason}). It listens on the "
            "loopback of the machine where `sleeper run` runs: ask there, or forward its api.port "
            "here; --server or SLEEPER_SERVER says where it is",
            ExitCode.UNREACHABLE,
        ) from error
    if not isinstance(said, dict) or expects not in said:
        raise CommandError(
            f"what answers at {server} is not sleeper's read API; --server or SLEEPER_SERVER says "
            "where it is",
            ExitCode.UNREACHABLE,
        )
    return said


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the daemon answered {error.code} {error.reason}"
