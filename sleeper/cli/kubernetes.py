"""Spaces as the API server shows them; no daemon is asked."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click
import msgspec

from sleeper import __version__
from sleeper.cli.exits import CommandError, ExitCode
from sleeper.core import names
from sleeper.core.durations import format_instant
from sleeper.core.jsonpatch import ABSENT, resolve
from sleeper.core.notes import NOTE_POINTER
from sleeper.core.objects import Namespace
from sleeper.core.space import no_space_because, tenant_label
from sleeper.core.text import shortened
from sleeper.core.workloads import KINDS
from sleeper.kube.client import KubeClient
from sleeper.telemetry.clock import SystemClock

if TYPE_CHECKING:
    from sleeper.kube.lease import Hold

REQUEST_TIMEOUT_SECONDS: Final = 10.0
NAMESPACES: Final = "/api/v1/namespaces"

_NAMESPACE: Final = msgspec.json.Decoder(Namespace)


class _Page(msgspec.Struct, frozen=True):
    items: tuple[Namespace, ...] = ()


_PAGE: Final = msgspec.json.Decoder(_Page)


class _Workloads(msgspec.Struct, frozen=True):
    items: tuple[dict[str, Any], ...] = ()


_WORKLOADS: Final = msgspec.json.Decoder(_Workloads)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which cluster a command speaks to."""

    kubeconfig: Path | None
    context: str | None


def namespace_path(name: str) -> str:
    """Path of a namespace."""
    return f"{NAMESPACES}/{quote(name, safe='')}"


@asynccontextmanager
async def connect(target: Target) -> AsyncIterator[KubeClient]:
    """A client for the user's own credentials."""
    client = await KubeClient.connect(
        kubeconfig=target.kubeconfig or _usual_kubeconfig(),
        context=target.context,
        clock=SystemClock(),
        user_agent=f"{names.USER_AGENT}-cli/{__version__}",
        request_timeout_seconds=REQUEST_TIMEOUT_SECONDS,
    )
    async with client:
        yield client


async def list_spaces(client: KubeClient) -> list[Namespace]:
    """All Spaces, and what was meant to be one, by tenant and name."""
    found: list[Namespace] = []
    async for body in client.pages(NAMESPACES, params={"labelSelector": names.LABEL_TENANT}):
        found.extend(_PAGE.decode(body).items)
    return sorted(found, key=lambda n: (tenant_label(n) or "", n.metadata.name))


async def get_space(client: KubeClient, name: str) -> Namespace:
    """One Space.

    Raises:
        CommandError: there is no such namespace, or it is no Space.
    """
    from sleeper.kube.errors import NotFound

    try:
        found = _NAMESPACE.decode(await client.get(namespace_path(name)))
    except NotFound:
        raise CommandError(f"there is no namespace {name!r}", ExitCode.NOT_FOUND) from None
    if (because := no_space_because(found)) is not None:
        raise CommandError(f"{name} is no Space: {because}", ExitCode.NOT_FOUND)
    return found


async def at_zero_by_us(client: KubeClient, name: str) -> tuple[str, ...]:
    """``Kind/name`` of the workloads of a namespace that carry our annotation and want no Pods.

    Raises:
        KubeError: they could not be listed.
    """
    found: list[str] = []
    for kind in KINDS.values():
        path = f"/apis/{kind.group_version}/namespaces/{quote(name, safe='')}/{kind.plural}"
        async for body in client.pages(path):
            found.extend(
                f"{kind.kind}/{live['metadata']['name']}"
                for live in _WORKLOADS.decode(body).items
                if resolve(live, NOTE_POINTER) is not ABSENT and kind.is_at_zero(live)
            )
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSign:
    """What the Lease tells of the daemon.

    Attributes:
        runs: whether somebody keeps it.
        told: what was seen of it, as half a sentence.
    """

    runs: bool
    told: str


async def daemon_sign(client: KubeClient, namespace: str | None = None) -> DaemonSign | None:
    """Whether a daemon runs, by its Lease.

    None: that is not known. It may be kept elsewhere or be called otherwise, or whoever asks may
    not read it, or clocks differ too much to tell.
    """
    from sleeper.config.settings import Config
    from sleeper.kube.errors import KubeError
    from sleeper.kube.lease import read_hold

    usual = Config()
    name = usual.lease.name
    try:
        hold = await read_hold(client, namespace=namespace or usual.namespace, name=name)
    except KubeError:
        return None
    return sign_of(hold, SystemClock().now(), f"{namespace or usual.namespace}/{name}")


def sign_of(hold: Hold, now: datetime, lease: str) -> DaemonSign | None:
    """What a Lease tells at ``now``, by this machine's clock."""
    if not hold.holder:
        return DaemonSign(runs=False, told=f"nobody holds the Lease {lease}")
    if hold.renewed_at is None:
        return None
    renewed = format_instant(hold.renewed_at)
    overdue = now - hold.renewed_at - hold.promised
    if overdue <= timedelta():
        return DaemonSign(
            runs=True, told=f"{shortened(hold.holder)} renewed the Lease {lease} at {renewed}"
        )
    if overdue <= _CLOCKS_DIFFER:
        return None
    return DaemonSign(runs=False, told=f"nobody has renewed the Lease {lease} since {renewed}")


_CLOCKS_DIFFER: Final = timedelta(minutes=1)
"""By so much the daemon's clock may be behind ours."""


def _usual_kubeconfig() -> Path | None:
    """Where kubectl would look; None inside a Pod, where the ServiceAccount serves.

    A KUBECONFIG that leads nowhere is still the one that was meant: any other file would be another
    cluster's.
    """
    named = [Path(entry) for entry in os.environ.get("KUBECONFIG", "").split(os.pathsep) if entry]
    if named:
        return next((path for path in named if path.exists()), named[0])
    usual = Path.home() / ".kube" / "config"
    return usual if usual.exists() else None


kubeconfig_option: Final = click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path),
    help="Path of a kubeconfig. Default: the first of KUBECONFIG, else ~/.kube/config.",
)
context_option: Final = click.option("--context", help="Context of the kubeconfig.")
