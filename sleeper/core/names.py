"""Names that others rely on: API group, labels, annotations. Each is declared here, once.

``docs/reference/annotations.md`` is generated from :data:`ANNOTATIONS` and compared in a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

GROUP: Final = "sleeper.dev"
VERSION: Final = "v1alpha1"

LABEL_TENANT: Final = f"{GROUP}/tenant"
"""Label on a namespace: makes it a Space and names who pays."""

TENANT_FORM: Final = (
    "a DNS label: at most 63 lower-case letters, digits and `-`, none of them `-` at an end"
)
"""The expected form of that label's value; it becomes part of names in the cluster."""

LABEL_SPACE_UID: Final = f"{GROUP}/space-uid"
"""Label on a SleepRecord: uid of the namespace that it belongs to."""

FIELD_MANAGER: Final = "sleeper"
USER_AGENT: Final = "sleeper"
"""Prefix of our user agent; requests that carry it never count as activity."""


class Target(StrEnum):
    """Sorts of objects that annotations stand on; on other ones no annotation has an effect."""

    NAMESPACE = "Namespace"
    WORKLOAD = "workload"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationSpec:
    """One annotation key.

    Attributes:
        key: full key including the group.
        form: the expected form of the value, as shown in warnings and documentation.
        help: one sentence for the documentation.
        targets: where it may stand.
        by_us: True if sleeper writes it, False if the owner does.
    """

    key: str
    form: str
    help: str
    targets: tuple[Target, ...] = (Target.NAMESPACE,)
    by_us: bool = False


def _key(name: str) -> str:
    return f"{GROUP}/{name}"


MODE: Final = _key("mode")
SLEEP_AFTER: Final = _key("sleep-after")
AWAKE_HOURS: Final = _key("awake-hours")
TIMEZONE: Final = _key("timezone")
KEEP_AWAKE_UNTIL: Final = _key("keep-awake-until")
DESIRED: Final = _key("desired")
DESIRED_REASON: Final = _key("desired-reason")
REQUIRED_SIGNALS: Final = _key("required-signals")
NOTICE: Final = _key("notice")
EXCLUDE: Final = _key("exclude")
LOCAL_DATA: Final = _key("local-data")
WAVE: Final = _key("wave")

POWER_STATE: Final = _key("power-state")
SLEEPING_SINCE: Final = _key("sleeping-since")
LAST_ACTIVITY: Final = _key("last-activity")
LAST_ACTIVITY_INFO: Final = _key("last-activity-info")
REASON: Final = _key("reason")
NEXT_TRANSITION: Final = _key("next-transition")
EPOCH: Final = _key("epoch")
SCHEDULE_CURSOR: Final = _key("schedule-cursor")
RESTORE: Final = _key("restore")

ANNOTATIONS: Final[tuple[AnnotationSpec, ...]] = (
    AnnotationSpec(
        key=MODE,
        form="`act` or `observe`",
        help=(
            "`observe`: everything is decided, recorded and metered, and nothing is put to sleep; "
            "what sleeps already is still woken."
        ),
    ),
    AnnotationSpec(
        key=SLEEP_AFTER,
        form=(
            "a duration such as `90m`, `2h30m`, `1d`, or a number of seconds, more than 0 and at "
            "most ten years; or `never`"
        ),
        help="Idle time after which the Space sleeps.",
    ),
    AnnotationSpec(
        key=AWAKE_HOURS,
        form="`Mon-Fri 08:00-19:00; Sat 10:00-14:00`",
        help=(
            "Woken when they begin, never slept within them; when they end the other rules hold "
            "again, and with no `sleep-after` anywhere the Space sleeps at their end."
        ),
    ),
    AnnotationSpec(
        key=TIMEZONE,
        form="an IANA time zone name such as `Europe/Berlin`",
        help="The zone in which `awake-hours` are read.",
    ),
    AnnotationSpec(
        key=KEEP_AWAKE_UNTIL,
        form="an RFC 3339 instant such as `2026-11-21T18:00:00Z`",
        help="Holds the Space awake (and wakes it) until then.",
    ),
    AnnotationSpec(
        key=DESIRED,
        form="`auto`, `asleep` or `awake`",
        help=(
            "What is wanted; a touch turns `asleep` back to `auto`. `sleeper "
            "sleep` writes `asleep` here, whatever stood here, and takes `keep-awake-until` away; "
            "`sleeper wake` takes `asleep` away."
        ),
    ),
    AnnotationSpec(
        key=DESIRED_REASON,
        form="any text",
        help="What was given with `--reason` when somebody last asked for sleep or waking.",
    ),
    AnnotationSpec(
        key=REQUIRED_SIGNALS,
        form="a comma-separated list of `api`, `traffic`",
        help="Signals that must have been seen idle before the Space may sleep.",
    ),
    AnnotationSpec(
        key=NOTICE,
        form="a duration such as `10m`, at most ten years, or `0`",
        help="How long before sleeping the owner is told; a touch, a hold or a veto ends it.",
    ),
    AnnotationSpec(
        key=EXCLUDE,
        form="`true` or `false`",
        help=(
            "Leaves the Space, or the one workload with its Pods, alone; set on one that sleeps, "
            "it wakes the Space, which sleeps without it from then on."
        ),
        targets=(Target.NAMESPACE, Target.WORKLOAD),
    ),
    AnnotationSpec(
        key=LOCAL_DATA,
        form="`keep` or `disposable`",
        help=(
            "Whether data of a database that lies in the Pod alone holds the Space awake, or may "
            "be lost by sleeping. What a workload says goes before what its namespace says."
        ),
        targets=(Target.NAMESPACE, Target.WORKLOAD),
    ),
    AnnotationSpec(
        key=WAVE,
        form="a whole number, default `0`",
        help="Start order: lower waves start first and are stopped last.",
        targets=(Target.WORKLOAD,),
    ),
    AnnotationSpec(
        key=POWER_STATE,
        form="`Awake`, `Drowsy`, `FallingAsleep`, `Asleep` or `Waking`",
        help="The Space's power state.",
        by_us=True,
    ),
    AnnotationSpec(key=SLEEPING_SINCE, form="RFC 3339", help="When it fell asleep.", by_us=True),
    AnnotationSpec(
        key=LAST_ACTIVITY,
        form="RFC 3339",
        help="Last proof of use; written at most every five minutes and on transitions.",
        by_us=True,
    ),
    AnnotationSpec(
        key=LAST_ACTIVITY_INFO,
        form="JSON object with `who`, `verb`, `resource`, `source`",
        help="What that activity was; never a user's name.",
        by_us=True,
    ),
    AnnotationSpec(
        key=REASON, form="a CamelCase reason", help="Why it is in this state.", by_us=True
    ),
    AnnotationSpec(
        key=NEXT_TRANSITION,
        form="RFC 3339",
        help="When it would sleep or wake next, if nothing happens.",
        by_us=True,
    ),
    AnnotationSpec(
        key=EPOCH,
        form="a whole number",
        help="Number of the latest sleep, in milliseconds since 1970; it only grows.",
        by_us=True,
    ),
    AnnotationSpec(
        key=SCHEDULE_CURSOR,
        form="RFC 3339",
        help="Up to here the instants of the Space's schedule have been applied.",
        by_us=True,
    ),
    AnnotationSpec(
        key=RESTORE,
        form="JSON object with `v`, `space`, `epoch`, `uid`, `fields`",
        help="On a sleeping object: what its changed fields were. Removed on waking.",
        targets=(Target.WORKLOAD,),
        by_us=True,
    ),
)

_BY_US: Final = frozenset(spec.key for spec in ANNOTATIONS if spec.by_us)


def is_owners(key: str) -> bool:
    """Whether an annotation is of our group and none that we write: its owner speaks to us."""
    return key.startswith(f"{GROUP}/") and key not in _BY_US
