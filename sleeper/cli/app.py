"""The command group: which command lives in which module, and how errors become exit codes."""

from __future__ import annotations

import importlib
import sys
from typing import Final, NoReturn

import click

from sleeper import __version__
from sleeper.cli.exits import CommandError, ExitCode

_COMMANDS: Final = {
    "run": ("sleeper.cli.run:run", "Run the daemon."),
    "config": ("sleeper.cli.config:config", "Check or show the settings."),
    "spaces": ("sleeper.cli.spaces:spaces", "List Spaces with their power state."),
    "explain": ("sleeper.cli.explain:explain", "Say why a Space is awake or asleep."),
    "sleep": ("sleeper.cli.power:sleep", "Put Spaces to sleep."),
    "wake": ("sleeper.cli.power:wake", "Wake Spaces; --all works without the daemon."),
    "usage": ("sleeper.cli.usage:usage", "Show what Spaces used and what sleeping freed."),
}


class _LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sleeper")
def cli() -> None:
    """Puts unused Kubernetes namespaces to sleep and wakes them when somebody needs them."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command line and exit with its :class:`ExitCode`."""
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    try:
        cli.main(arguments, prog_name="sleeper", standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except CommandError as error:
        return _fail(str(error), error.code)
    except Exception as error:
        cause = _only_cause(error)
        code = _code_of(cause)
        if code is None:
            raise
        return _fail(str(cause), code)
    return ExitCode.OK


def _only_cause(error: Exception) -> Exception:
    """What broke a task group, if it was one thing."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _code_of(error: Exception) -> ExitCode | None:
    """The exit code of one of our own errors; None: a bug, shown with its traceback."""
    from sleeper.errors import ConfigError, SleeperError

    if isinstance(error, ConfigError):
        return ExitCode.BAD_CONFIG
    if not isinstance(error, SleeperError):
        return None
    from sleeper.kube.errors import KubeTimeout, NotFound, Unavailable

    if isinstance(error, NotFound):
        return ExitCode.NOT_FOUND
    if isinstance(error, Unavailable | KubeTimeout):
        return ExitCode.UNREACHABLE
    return ExitCode.ERROR


def _fail(message: str, code: ExitCode) -> ExitCode:
    for line in message.splitlines():
        click.echo(f"sleeper: {line}", err=True)
    return code
