"""Every setting of the daemon, declared once: name, type, default, meaning, bounds.

Names that end in ``_seconds`` are numbers of seconds; durations in ``defaults`` are written as in
annotations. Frozen values: what was read at start holds until the process ends.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from metrics.core.audit import DEFAULT_DISCOUNTED_AGENTS
from metrics.core.signals import SignalName
from sleeper.core.durations import Never
from sleeper.core.policy import LocalData, Mode
from sleeper.core.schedule import AwakeHours

UTC: Final = ZoneInfo("UTC")


def setting(
    meaning: str,
    default: Any = MISSING,
    *,
    nested: type | None = None,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    secret: bool = False,
) -> Any:
    """A dataclass field with what the reader and the documentation need to know about it.

    Args:
        meaning: one or two sentences for the documentation.
        default: its value where nothing is said; none: it has to be given.
        nested: the section's class, where the field is a section.
        at_least: smallest number allowed.
        above: numbers must be larger than this.
        at_most: largest number allowed.
        secret: may hold a password; shown without it.
    """
    metadata = {
        "meaning": meaning,
        "at_least": at_least,
        "above": above,
        "at_most": at_most,
        "secret": secret,
    }
    if nested is not None:
        return field(default_factory=nested, metadata=metadata)
    if default is MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseConfig:
    """Where history, activity and metering are kept. Losing it strands no workload."""

    url: str = setting(
        "SQLAlchemy URL of an async driver. The directory of a SQLite file must exist.",
        "sqlite+aiosqlite:///sleeper.sqlite3",
        secret=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesConfig:
    """How the API server is reached."""

    kubeconfig: Path | None = setting(
        "Path of a kubeconfig. Without one the Pod's ServiceAccount is used.", None
    )
    request_timeout_seconds: float = setting(
        "Longest that one request may take. No write starts unless the lease outlasts it.",
        4.0,
        above=0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultsConfig:
    """Policy of Spaces that say nothing themselves; annotations on the namespace win."""

    sleep_after: timedelta | Never = setting(
        "Idle time after which a Space sleeps, or `never`: then only Spaces that ask for it sleep.",
        Never.NEVER,
    )
    notice: timedelta = setting(
        "How long before sleeping the owner is told; `0` for no notice.", timedelta(minutes=10)
    )
    awake_hours: AwakeHours | None = setting(
        "Hours in which Spaces are kept awake, such as `Mon-Fri 08:00-19:00; Sat 10:00-14:00`.",
        None,
    )
    timezone: ZoneInfo = setting("Zone in which awake-hours are read.", UTC)
    required_signals: frozenset[SignalName] | None = setting(
        "Signals that must have been seen idle before a Space may sleep. Not set: `api`, and "
        "`traffic` where the Space has a route.",
        None,
    )
    local_data: LocalData = setting(
        "`keep`: a database's data that lies in the Pod alone holds its Space awake; `disposable`: "
        "sleeping may lose it.",
        LocalData.KEEP,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServerConfig:
    """One API server that sends its audit events."""

    name: str = setting("Its name, the last part of the webhook's URL: `/audit/<name>`.")
    url: str = setting("Where its canaries and its `/metrics` are asked for; this very replica.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSignalConfig:
    """The API signal: audit events that API servers send to our webhook."""

    enabled: bool = setting(
        "Without it no Space that requires `api` sleeps, which is every one by default.", True
    )
    listen: str = setting("Address on which the sink listens.", "0.0.0.0")  # noqa: S104 API servers stand outside
    port: int = setting("Its port.", 8443, at_least=1, at_most=65_535)
    tls_cert: Path | None = setting("Certificate chain of the sink, PEM.", None)
    tls_key: Path | None = setting("Its private key, PEM.", None)
    client_ca: Path | None = setting(
        "CA of the client certificates by which API servers are known.", None
    )
    token_file: Path | None = setting(
        "File with the bearer token by which API servers are known; read again when it changes.",
        None,
    )
    retry_horizon_seconds: float = setting(
        "Longest life of an audit batch from its first attempt, retries included; follows from "
        "the API server's webhook flags. What is younger counts as not yet seen.",
        250.0,
        at_least=0,
    )
    canary_interval_seconds: float = setting(
        "Time between two canaries, and two readings of the loss counters.", 10.0, above=0
    )
    canary_timeout_seconds: float = setting(
        "After that long without a canary's return or a loss reading the signal is unknown.",
        180.0,
        above=0,
    )
    max_clock_offset_seconds: float = setting(
        "Most that an API server's or Prometheus's clock may differ from ours.", 5.0, above=0
    )
    stream_max_seconds: float = setting(
        "How long an exec, port-forward or followed log without a known end holds its Space.",
        14_400.0,
        above=0,
        at_most=2_592_000,
    )
    flush_interval_seconds: float = setting(
        "Longest time between an event's arrival and its storage.", 1.0, above=0
    )
    apiservers: tuple[ApiServerConfig, ...] = setting(
        "Every API server of the cluster. One that is missing here makes the signal unknown if it "
        "sends us its events; if it sends nothing, whoever works through it is not seen.",
        (),
    )
    deployer_users: tuple[str, ...] = setting(
        "Users that count like people although they are service accounts, such as a CI deployer's "
        "`system:serviceaccount:ci:deployer`.",
        (),
    )
    discount_user_agents: tuple[str, ...] = setting(
        "User agents that poll on nobody's behalf; `*` at the end stands for any ending.",
        DEFAULT_DISCOUNTED_AGENTS,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficSignalConfig:
    """The traffic signal: request counters of the ingress controller, read from Prometheus."""

    prometheus_url: str | None = setting(
        "Base URL of Prometheus. Not set: no traffic is seen, so no Space with a route sleeps.",
        None,
        secret=True,
    )
    provider: str = setting("Whose counters are read.", "traefik")
    poll_interval_seconds: float = setting("Time between two readings.", 15.0, above=0)
    stale_after_seconds: float = setting(
        "How old the newest sample may be before the signal is unknown; at least two scrape "
        "intervals of Prometheus.",
        60.0,
        above=0,
    )
    backfill_seconds: float = setting(
        "How far back is read after a restart; what lies before it counts as not seen.",
        7_200.0,
        at_least=0,
    )
    timeout_seconds: float = setting("Longest that one query may take.", 10.0, above=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseConfig:
    """The Lease in our namespace; only its holder puts Spaces to sleep, any replica wakes."""

    name: str = setting("Its name.", "sleeper")
    duration_seconds: int = setting(
        "How long others wait after our last renewal that they saw.", 15, at_least=1
    )
    renew_deadline_seconds: float = setting(
        "Without a successful renewal we stop leading after this time.", 10.0, above=0
    )
    retry_period_seconds: float = setting("Time between two attempts.", 2.0, above=0)
    identity: str | None = setting(
        "This replica's name, unlike any other's. Not set: host name and a random part.", None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepConfig:
    """Putting to sleep."""

    deadline_seconds: float = setting(
        "When Pods are not gone by then, everything is restored.", 600.0, above=0
    )
    retry_backoff_seconds: float = setting(
        "First wait after a sleep that failed; doubled with each further failure.", 300.0, above=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeConfig:
    """Waking."""

    deadline_seconds: float = setting(
        "A wake that is not done by then is reported and tried again.", 600.0, above=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionConfig:
    """How long history is kept; what is older goes once a day. What still counts never goes."""

    meter: timedelta = setting(
        "Requests and power states, from which usage is stated. Thirteen months by default, so "
        "that the same month of last year can still be stated.",
        timedelta(days=400),
    )
    activity: timedelta = setting("Last activity of namespaces that are gone.", timedelta(days=30))
    gaps: timedelta = setting(
        "Gaps of signals, for those who ask why a Space did not sleep.", timedelta(days=30)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """The read API, `/metrics`, `/livez` and `/readyz`; it asks nobody who they are."""

    listen: str = setting("Address to listen on; loopback only.", "127.0.0.1")
    port: int = setting("Port to listen on.", 8080, at_least=1, at_most=65_535)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings."""

    mode: Mode = setting(
        "`observe`: everything is decided, recorded and metered, and nothing is put to sleep; "
        "what sleeps already is still woken. **Begin with `observe`: the default acts.**",
        Mode.ACT,
    )
    namespace: str = setting(
        "Our own namespace: the Lease and the sleep records are kept in it.", "sleeper-system"
    )
    protected_namespaces: tuple[str, ...] = setting(
        "Namespaces that never sleep, beside `kube-*` and our own: whatever waking depends on. "
        "`*` at the end stands for any ending.",
        (),
    )
    max_clock_step_seconds: float = setting(
        "A larger step of our wall clock against the monotonic one is a gap in every signal.",
        2.0,
        above=0,
    )
    database: DatabaseConfig = setting(
        "Where history, activity and metering are kept.", nested=DatabaseConfig
    )
    kubernetes: KubernetesConfig = setting(
        "How the API server is reached.", nested=KubernetesConfig
    )
    defaults: DefaultsConfig = setting(
        "Policy of Spaces that say nothing themselves.", nested=DefaultsConfig
    )
    api_signal: ApiSignalConfig = setting("Audit events.", nested=ApiSignalConfig)
    traffic_signal: TrafficSignalConfig = setting(
        "Request counters of the ingress controller.", nested=TrafficSignalConfig
    )
    lease: LeaseConfig = setting("Who may put Spaces to sleep.", nested=LeaseConfig)
    sleep: SleepConfig = setting("Putting to sleep.", nested=SleepConfig)
    wake: WakeConfig = setting("Waking.", nested=WakeConfig)
    retention: RetentionConfig = setting("How long history is kept.", nested=RetentionConfig)
    api: ApiConfig = setting("Read API, metrics and health.", nested=ApiConfig)
