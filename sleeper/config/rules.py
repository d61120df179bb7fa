"""Settings that contradict each other, each refused with the numbers in the sentence."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final

from metrics.core.signals import SignalName
from metrics.core.traffic_providers import PROVIDERS
from sleeper.config.settings import Config

_NAME: Final = re.compile(r"[a-z0-9]([-.a-z0-9]{0,61}[a-z0-9])?")
_URL: Final = re.compile(r"https?://[^/\s]+\S*")

_DAY: Final = timedelta(days=1)

Rule = Callable[[Config], Iterator[str]]


def contradictions(config: Config) -> list[str]:
    """One sentence for each rule that ``config`` breaks."""
    return [sentence for rule in _RULES for sentence in rule(config)]


def _lease_ladder(config: Config) -> Iterator[str]:
    """Another replica may take over only when none of our writes can still be under way."""
    lease, request = config.lease, config.kubernetes.request_timeout_seconds
    if lease.duration_seconds <= lease.renew_deadline_seconds:
        yield (
            f"lease.duration_seconds ({lease.duration_seconds:g}) must be more than "
            f"lease.renew_deadline_seconds ({lease.renew_deadline_seconds:g})"
        )
    if lease.renew_deadline_seconds <= 2 * request:
        yield (
            f"lease.renew_deadline_seconds ({lease.renew_deadline_seconds:g}) must be more than "
            f"twice kubernetes.request_timeout_seconds (2 × {request:g} = {2 * request:g})"
        )
    if lease.retry_period_seconds >= lease.renew_deadline_seconds:
        yield (
            f"lease.retry_period_seconds ({lease.retry_period_seconds:g}) must be less than "
            f"lease.renew_deadline_seconds ({lease.renew_deadline_seconds:g})"
        )


def _idle_time_outlasts_sight(config: Config) -> Iterator[str]:
    """An idle time shorter than the way of a signal would count its silence as idleness."""
    sleep_after = config.defaults.sleep_after
    if not isinstance(sleep_after, timedelta):
        return
    poll = config.traffic_signal.poll_interval_seconds
    canary = config.api_signal.canary_interval_seconds
    flush = config.api_signal.flush_interval_seconds
    needed = 2 * poll + canary + flush
    if sleep_after.total_seconds() <= needed:
        yield (
            f"defaults.sleep_after ({sleep_after.total_seconds():g} s) must be more than "
            "2 × traffic_signal.poll_interval_seconds + api_signal.canary_interval_seconds + "
            f"api_signal.flush_interval_seconds (2 × {poll:g} + {canary:g} + {flush:g} = "
            f"{needed:g} s)"
        )
    if config.defaults.notice >= sleep_after:
        yield (
            f"defaults.notice ({config.defaults.notice.total_seconds():g} s) must be less than "
            f"defaults.sleep_after ({sleep_after.total_seconds():g} s)"
        )


def _signals_have_time(config: Config) -> Iterator[str]:
    api, traffic = config.api_signal, config.traffic_signal
    if api.canary_timeout_seconds <= 2 * api.canary_interval_seconds:
        yield (
            f"api_signal.canary_timeout_seconds ({api.canary_timeout_seconds:g}) must be more than "
            f"twice api_signal.canary_interval_seconds (2 × {api.canary_interval_seconds:g} = "
            f"{2 * api.canary_interval_seconds:g})"
        )
    if traffic.stale_after_seconds <= 2 * traffic.poll_interval_seconds:
        yield (
            f"traffic_signal.stale_after_seconds ({traffic.stale_after_seconds:g}) must be more "
            f"than twice traffic_signal.poll_interval_seconds (2 × "
            f"{traffic.poll_interval_seconds:g} = {2 * traffic.poll_interval_seconds:g})"
        )


def _sink_is_usable(config: Config) -> Iterator[str]:
    api = config.api_signal
    if not api.enabled:
        return
    if api.tls_cert is None or api.tls_key is None:
        yield (
            "api_signal.tls_cert and api_signal.tls_key must both be set: API servers only send "
            "over TLS (or set api_signal.enabled: false)"
        )
    if api.client_ca is None and api.token_file is None:
        yield (
            "api_signal.client_ca or api_signal.token_file must be set: otherwise no API server "
            "could show who it is"
        )
    if not api.apiservers:
        yield "api_signal.apiservers must name every API server of the cluster"
    names = [server.name for server in api.apiservers]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"api_signal.apiservers: the name {name!r} is given to {names.count(name)} of them"
    for server in api.apiservers:
        if not _NAME.fullmatch(server.name):
            yield (
                f"api_signal.apiservers: {server.name!r} is not a name: expected lower-case "
                "letters, digits, '-' and '.'"
            )
        if not server.url.startswith("https://"):
            yield f"api_signal.apiservers: {server.name}: expected an https:// URL"


def _signals_exist(config: Config) -> Iterator[str]:
    required = config.defaults.required_signals
    if required is None:
        required = frozenset()
    elif not required:
        yield (
            "defaults.required_signals is empty (0 signals): no data is not idleness, so name api, "
            "traffic or both, or leave it out"
        )
    if SignalName.API in required and not config.api_signal.enabled:
        yield "defaults.required_signals names api, but api_signal.enabled is false"
    url = config.traffic_signal.prometheus_url
    if SignalName.TRAFFIC in required and url is None:
        yield (
            "defaults.required_signals names traffic, but traffic_signal.prometheus_url is not set"
        )
    if url is not None and not _URL.fullmatch(url):
        yield "traffic_signal.prometheus_url: expected an http:// or https:// URL"
    provider = config.traffic_signal.provider
    if provider not in PROVIDERS:
        known = ", ".join(PROVIDERS)
        yield f"traffic_signal.provider ({provider}) is not known; expected one of {known}"


def _history_lasts_a_day(config: Config) -> Iterator[str]:
    """Old history goes once a day, so a shorter time could not be kept to."""
    retention = config.retention
    for name in ("meter", "activity", "gaps"):
        kept: timedelta = getattr(retention, name)
        if kept < _DAY:
            yield (
                f"retention.{name} ({kept.total_seconds():g} s) must be at least a day "
                f"({_DAY.total_seconds():g} s)"
            )


def _addresses(config: Config) -> Iterator[str]:
    api, sink = config.api, config.api_signal
    try:
        loopback = ipaddress.ip_address(api.listen).is_loopback
    except ValueError:
        loopback = api.listen == "localhost"
    if not loopback:
        yield (
            f"api.listen ({api.listen}) must be a loopback address such as 127.0.0.1: the read "
            "API asks nobody who they are"
        )
    if sink.enabled and sink.port == api.port:
        yield f"api.port and api_signal.port are both {api.port}"


_RULES: Final[tuple[Rule, ...]] = (
    _lease_ladder,
    _idle_time_outlasts_sight,
    _signals_have_time,
    _sink_is_usable,
    _signals_exist,
    _history_lasts_a_day,
    _addresses,
)
