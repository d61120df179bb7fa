"""``sleeper sleep`` and ``sleeper wake``: annotations for the daemon; ``--all`` without it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from sleeper.cli.exits import CommandError, ExitCode
from sleeper.cli.kubernetes import (
    DaemonSign,
    Target,
    at_zero_by_us,
    connect,
    context_option,
    daemon_sign,
    get_space,
    kubeconfig_option,
    namespace_path,
)
from sleeper.core import names
from sleeper.core.durations import format_instant, parse_duration, parse_instant
from sleeper.core.objects import Namespace
from sleeper.core.power import PowerState
from sleeper.kube.client import KubeClient
from sleeper.kube.errors import Forbidden
from sleeper.telemetry.clock import SystemClock

WAKE_FOR: Final = timedelta(minutes=1)
"""How long a wake holds at least: until the daemon has seen the first use of it."""

_ONLY_WITH_SPACES: Final = ("hold", "reason", "wait", "timeout")
_ONLY_WITH_ALL: Final = ("namespace",)
"""Parameters of ``wake``."""

_STILL_RUNS: Final = (
    "Unless its mode is `observe`, it puts Spaces to sleep again by their rules, and those whose "
    "owners asked for it at once. For all to stay awake, end it or set `mode: observe` first."
)
_LOOK_SECONDS: Final = 0.5
_ASLEEP: Final = "asleep"


class _Duration(click.ParamType[timedelta]):
    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_wait_option: Final = click.option("--wait", is_flag=True, help="Wait until it is done.")
_timeout_option: Final = click.option(
    "--timeout", type=_Duration(), default="10m", show_default=True, help="Longest wait."
)
_reason_option: Final = click.option("--reason", help="Why; kept on the namespace.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What is written on a namespace, and what is said about it."""

    changes: Mapping[str, str | None]
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wait:
    """Wait for one of ``states``, at most ``timeout``."""

    states: frozenset[PowerState]
    timeout: timedelta


@click.command()
@click.argument("spaces", nargs=-1, required=True, metavar="SPACE...")
@_reason_option
@_wait_option
@_timeout_option
@kubeconfig_option
@context_option
def sleep(
    spaces: tuple[str, ...],
    reason: str | None,
    wait: bool,
    timeout: timedelta,
    kubeconfig: Path | None,
    context: str | None,
) -> None:
    """Put Spaces to sleep, until somebody uses them or they are woken."""

    def wish(_namespace: Namespace) -> _Wish:
        return _Wish(
            changes={names.DESIRED: _ASLEEP, names.KEEP_AWAKE_UNTIL: None}, said="asked to sleep"
        )

    until = _Wait(states=frozenset({PowerState.ASLEEP}), timeout=timeout) if wait else None
    target = Target(kubeconfig=kubeconfig, context=context)
    asyncio.run(_annotate(spaces, wish, reason=reason, wait=until, target=target))


@click.command()
@click.argument("spaces", nargs=-1, metavar="SPACE...")
@click.option(
    "--for",
    "hold",
    type=_Duration(),
    default=WAKE_FOR,
    show_default="1m",
    help="How long it stays awake at least.",
)
@_reason_option
@_wait_option
@_timeout_option
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Bring back all that sleeps, from the sleep records alone: needs neither the daemon nor "
    "its database. For emergencies and for uninstalling.",
)
@click.option(
    "--namespace",
    default="sleeper-system",
    show_default=True,
    help="With --all: where the sleep records are.",
)
@kubeconfig_option
@context_option
def wake(
    spaces: tuple[str, ...],
    hold: timedelta,
    reason: str | None,
    wait: bool,
    timeout: timedelta,
    everything: bool,
    namespace: str,
    kubeconfig: Path | None,
    context: str | None,
) -> None:
    """Wake Spaces and keep them awake for a while."""
    target = Target(kubeconfig=kubeconfig, context=context)
    _refuse_what_does_not_go_together(click.get_current_context(), spaces, everything=everything)
    if everything:
        asyncio.run(_wake_everything(target, namespace))
        return

    def wish(namespace: Namespace) -> _Wish:
        until = format_instant(max(SystemClock().now() + hold, _held_until(namespace)))
        changes: dict[str, str | None] = {names.KEEP_AWAKE_UNTIL: until}
        if namespace.metadata.annotation(names.DESIRED) == _ASLEEP:
            changes[names.DESIRED] = None
        return _Wish(changes=changes, said=f"asked to be awake until {until}")

    awake = frozenset({PowerState.AWAKE, PowerState.DROWSY})
    until = _Wait(states=awake, timeout=timeout) if wait else None
    asyncio.run(_annotate(spaces, wish, reason=reason, wait=until, target=target))


def _refuse_what_does_not_go_together(
    context: click.Context, spaces: Sequence[str], *, everything: bool
) -> None:
    """Nothing that is given is ignored: with and without --all other options mean something.

    Raises:
        UsageError: what goes together.
    """
    if everything == bool(spaces):
        raise click.UsageError("Name Spaces, or give --all.")
    options = {param.name: param.opts[0] for param in context.command.params}
    given = [
        options[name]
        for name in (_ONLY_WITH_SPACES if everything else _ONLY_WITH_ALL)
        if context.get_parameter_source(name) is click.ParameterSource.COMMANDLINE
    ]
    if given and everything:
        raise click.UsageError(
            f"{', '.join(given)}: only with named Spaces; --all wakes everything at once and takes "
            "no option but --namespace, --kubeconfig and --context."
        )
    if given:
        raise click.UsageError(
            f"{', '.join(given)}: only with --all, to say where the sleep records are."
        )


async def _wake_everything(target: Target, namespace: str) -> None:
    from sleeper.control.breakglass import wake_all

    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        click.echo(line)

    async with connect(target) as client:
        back = await wake_all(client, namespace=namespace, clock=SystemClock(), say=say)
        sign = await daemon_sign(client, namespace)
        if sign is not None and sign.runs:
            click.echo(f"A daemon still runs: {sign.told}. {_STILL_RUNS}", err=True)
        if not back:
            raise CommandError("not everything is back; the lines above say what, and why")
    if not said:
        click.echo("Nothing sleeps.")


def _held_until(namespace: Namespace) -> datetime:
    """The hold that is there; one that cannot be read gives way."""
    try:
        return parse_instant(namespace.metadata.annotation(names.KEEP_AWAKE_UNTIL) or "")
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


async def _annotate(
    spaces: Sequence[str],
    wish_for: Callable[[Namespace], _Wish],
    *,
    reason: str | None,
    wait: _Wait | None,
    target: Target,
) -> None:
    async with connect(target) as client:
        found = [await get_space(client, name) for name in spaces]  # all or none of them
        for namespace in found:
            wish = wish_for(namespace)
            changes = {**wish.changes, names.DESIRED_REASON: reason}
            path = namespace_path(namespace.metadata.name)
            await client.merge_patch(path, {"metadata": {"annotations": changes}})
            click.echo(f"{namespace.metadata.name}: {wish.said}")
        if wait is not None:
            await _wait_for(client, spaces, wait)


async def _left_down(client: KubeClient, name: str) -> tuple[str, bool]:
    """What is said of a Space that is awake while workloads are at zero under our annotation.

    They may have been restored or copied while they slept. Who may not list workloads is told so.

    Returns:
        A line, empty if there are none, and whether there are any.
    """
    try:
        found = await at_zero_by_us(client, name)
    except Forbidden as error:
        said = f"awake; what may still be at zero could not be looked for: {error.message}"
        return f"{name}: {said}", False
    return f"{name}: awake, but still at zero: {', '.join(found)}" if found else "", bool(found)


async def _wait_for(client: KubeClient, spaces: Sequence[str], wait: _Wait) -> None:
    """Look until every Space is in a wanted state, and say what changes meanwhile."""
    shown: dict[str, str] = {}
    try:
        async with asyncio.timeout(wait.timeout.total_seconds()):
            pending = list(spaces)
            while pending:
                for name in tuple(pending):
                    meta = (await get_space(client, name)).metadata
                    state = meta.annotation(names.POWER_STATE)
                    line = f"{name}: {state} ({meta.annotation(names.REASON) or 'no reason yet'})"
                    if state is None:
                        line = f"{name}: no state yet; it takes a running daemon in mode act"
                    done = state in wait.states
                    if done and PowerState.AWAKE in wait.states:
                        down, is_down = await _left_down(client, name)
                        line, done = down or line, not is_down
                    if shown.get(name) != line:
                        shown[name] = line
                        click.echo(line)
                    if done:
                        pending.remove(name)
                if pending:
                    await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        states = "; ".join(shown.get(name, name) for name in pending)
        more = _says_more(pending[0], await daemon_sign(client), wait)
        raise CommandError(
            f"not done in {wait.timeout.total_seconds():g} s: {states}. It stays asked for; {more}",
            ExitCode.TIMED_OUT,
        ) from None


def _says_more(name: str, sign: DaemonSign | None, wait: _Wait) -> str:
    """Where to turn next; who is not there answers no `sleeper explain`."""
    without = ""
    if PowerState.AWAKE in wait.states:
        without = "`sleeper wake --all` brings everything back without one"
    if sign is not None and not sign.runs:
        return f"no daemon runs to do it ({sign.told})" + (without and f"; {without}")
    more = f"`sleeper explain {name}` says more"
    if sign is None and without:
        more += f"; if no daemon answers there, {without}"
    return more
