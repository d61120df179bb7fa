"""Settings, all of them environment variables.

DEVCLUSTER_NODES           number of nodes (4), each of 16 CPUs and 64 GiB; at most 15
DEVCLUSTER_POD_START       time a Pod takes from scheduled to Ready (2s)
DEVCLUSTER_SCRAPE          Prometheus's scrape interval (1s)
DEVCLUSTER_ISOLATION       auto (namespaces where they can be had) or off
DEVCLUSTER_FLAGS_<NAME>    more flags for a component, which win over ours:
                           DEVCLUSTER_FLAGS_KUBE_APISERVER=--audit-webhook-batch-buffer-size=10
DEVCLUSTER_PORT_<NAME>     another port; the names are those of --publish
DEVCLUSTER_USE_KUBECONFIG  1: run CMD on the cluster of KUBECONFIG instead of a fresh one
KUBEBUILDER_ASSETS         a directory with ready-made etcd, kube-apiserver and kubectl
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from devcluster.errors import DevclusterError

_DURATION = re.compile(r"\d+(ms|s|m)")
_MAX_NODES = 15

Flags = Mapping[str, str | None]
"""Flag name without dashes to value; None for a flag that stands alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The settings of one run."""

    nodes: int = 4
    pod_start: str = "2s"
    scrape: str = "1s"
    isolate: bool = True
    flags: Mapping[str, Flags]
    ports: Mapping[str, int]


def read_options(environ: Mapping[str, str]) -> Options:
    """Read the ``DEVCLUSTER_*`` settings.

    Raises:
        DevclusterError: a value cannot be read; the sentence names it and the expected form.
    """
    isolation = environ.get("DEVCLUSTER_ISOLATION", "auto")
    if isolation not in {"auto", "off"}:
        raise DevclusterError(f"DEVCLUSTER_ISOLATION is {isolation!r}; expected 'auto' or 'off'")
    return Options(
        nodes=_number(environ, "DEVCLUSTER_NODES", default=4, low=1, high=_MAX_NODES),
        pod_start=_duration(environ, "DEVCLUSTER_POD_START", "2s"),
        scrape=_duration(environ, "DEVCLUSTER_SCRAPE", "1s"),
        isolate=isolation == "auto",
        flags={
            name.removeprefix("DEVCLUSTER_FLAGS_").lower().replace("_", "-"): parse_flags(value)
            for name, value in environ.items()
            if name.startswith("DEVCLUSTER_FLAGS_")
        },
        ports={
            name.removeprefix("DEVCLUSTER_PORT_").lower(): _number(
                environ, name, default=0, low=1, high=65535
            )
            for name in environ
            if name.startswith("DEVCLUSTER_PORT_")
        },
    )


def parse_flags(text: str) -> Flags:
    """``--a=1 --b`` → ``{"a": "1", "b": None}``."""
    flags: dict[str, str | None] = {}
    for word in shlex.split(text):
        if not word.startswith("--"):
            raise DevclusterError(f"{word!r} is not a flag; expected the form --name=value")
        name, equals, value = word[2:].partition("=")
        flags[name] = value if equals else None
    return flags


def _number(environ: Mapping[str, str], name: str, *, default: int, low: int, high: int) -> int:
    text = environ.get(name)
    if text is None:
        return default
    if not text.isdecimal() or not low <= int(text) <= high:
        raise DevclusterError(f"{name} is {text!r}; expected a number from {low} to {high}")
    return int(text)


def _duration(environ: Mapping[str, str], name: str, default: str) -> str:
    text = environ.get(name, default)
    if not _DURATION.fullmatch(text):
        raise DevclusterError(f"{name} is {text!r}; expected a duration such as '500ms' or '2s'")
    return text
