"""Policy of one Space: its annotations over the configuration's defaults.

Every value knows where it came from. A value that cannot be read is a *problem*: it could have
delayed sleep, so the verdict abstains (``PolicyInvalid``) until it is mended. A key that is not
known, or stands where it has no effect, is a *warning*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache
from heapq import nsmallest
from typing import Final, Generic, TypeVar
from zoneinfo import ZoneInfo

from metrics.core.signals import SignalName
from sleeper.core import names
from sleeper.core.durations import Never, parse_duration, parse_instant
from sleeper.core.names import ANNOTATIONS, AnnotationSpec, Target
from sleeper.core.schedule import AwakeHours, parse_awake_hours
from sleeper.core.text import shortened

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_UTC: Final = ZoneInfo("UTC")

LONGEST_READ: Final = 1024
"""Characters of a value that can be meant; a longer one is not even tried to be read."""

MOST_UNKNOWN: Final = 3
"""Keys of one object that are not known and are looked at; of the others only the number is told.

Anybody who may edit an object can put ten thousand there, and each costs a search.
"""

_PREFIX: Final = f"{names.GROUP}/"
_SPECS: Final = {spec.key: spec for spec in ANNOTATIONS}


class Mode(StrEnum):
    """Whether verdicts are acted upon."""

    ACT = "act"
    OBSERVE = "observe"


class Desired(StrEnum):
    """What the owner asked for by hand."""

    AUTO = "auto"
    ASLEEP = "asleep"
    AWAKE = "awake"


class LocalData(StrEnum):
    """What is to become of a database's data that lies in the Pod alone."""

    KEEP = "keep"
    DISPOSABLE = "disposable"


class Source(StrEnum):
    """Where an effective value comes from; a later one wins."""

    BUILT_IN = "built in"
    CONFIGURATION = "configuration"
    ANNOTATION = "annotation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting(Generic[T_co]):
    """One effective value and where it came from.

    Attributes:
        value: what holds.
        source: who said so.
        where: the configuration's setting and what set it; None for other sources.
    """

    value: T_co
    source: Source
    where: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDefaults:
    """What holds for a Space that says nothing itself: section ``defaults`` of the configuration.

    Attributes:
        mode: whether verdicts are acted upon.
        sleep_after: idle time after which a Space sleeps; NEVER: only those that ask for it.
        notice: how long before sleeping the owner is told; zero for no notice.
        awake_hours: hours in which Spaces are kept awake; None for none.
        timezone: zone in which awake-hours are read.
        required_signals: signals that must have been seen idle; None: ``api``, and ``traffic``
            where the Space has a route.
        local_data: whether data that lies in the Pod alone holds its Space awake.
        set_in: key of the annotation → the configuration's setting behind it and what set that;
            of what is missing here nobody said anything, and the value is built in.
    """

    mode: Mode = Mode.ACT
    sleep_after: timedelta | Never = Never.NEVER
    notice: timedelta = timedelta(minutes=10)
    awake_hours: AwakeHours | None = None
    timezone: ZoneInfo = _UTC
    required_signals: frozenset[SignalName] | None = None
    local_data: LocalData = LocalData.KEEP
    set_in: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepPolicy:
    """The effective policy of one Space; the fields are the annotations of the same names."""

    mode: Setting[Mode]
    sleep_after: Setting[timedelta | Never]
    notice: Setting[timedelta]
    awake_hours: Setting[AwakeHours | None]
    timezone: Setting[ZoneInfo]
    keep_awake_until: Setting[datetime | None]
    desired: Setting[Desired]
    required_signals: Setting[frozenset[SignalName]]
    excluded: Setting[bool]
    local_data: Setting[LocalData]

    @property
    def sleeps_when_hours_end(self) -> bool:
        """It has awake-hours, and nobody said after how much idle time it should sleep.

        ``sleep-after: never`` on the namespace says so; as the configuration's default it does
        not: it leaves the word to the Spaces, and awake-hours are such a word.
        """
        return (
            self.awake_hours.value is not None
            and self.sleep_after.value is Never.NEVER
            and self.sleep_after.source is not Source.ANNOTATION
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyNote:
    """Something about one annotation that its owner should know.

    Attributes:
        key: the annotation's key.
        value: its value.
        advice: what was expected, as half a sentence.
        on: ``Kind/name`` of the object that it stands on; empty for the namespace.
        ignored: it has no effect at all, and holds nothing.
    """

    key: str
    value: str
    advice: str
    on: str = ""
    ignored: bool = False

    @property
    def quoted(self) -> str:
        """The value in quotes, cut where it is long."""
        return repr(shortened(self.value))

    def __str__(self) -> str:
        return f"{self.key}: {self.quoted} {self.advice}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyReading:
    """A policy with what could not be understood of it.

    Attributes:
        policy: the effective policy; where a value cannot be read, what would hold without it.
        problems: values that cannot be read; while there is one, nothing sleeps for this policy.
        warnings: keys that have no effect, and what cannot be read on a workload.
    """

    policy: SleepPolicy
    problems: tuple[PolicyNote, ...] = ()
    warnings: tuple[PolicyNote, ...] = ()


def read_policy(
    annotations: Mapping[str, str], defaults: PolicyDefaults, *, has_routes: bool
) -> PolicyReading:
    """The policy of a Space with these namespace annotations.

    Args:
        annotations: of the namespace; only keys of our group are looked at.
        defaults: the configuration's.
        has_routes: whether the Space has a route, so that ``traffic`` is required by default.
    """
    return _read(written_by_owner(annotations), defaults, has_routes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What an owner wrote on one object in annotations of our group, as far as it is looked at.

    Attributes:
        given: known keys, and the first few of the others, with their values.
        further: how many more keys there are that are not known.
    """

    given: tuple[tuple[str, str], ...]
    further: int = 0


def written_by_owner(annotations: Mapping[str, str]) -> Written:
    """The annotations of our group, without those that we write ourselves.

    However many and however long they are, what is taken of them is little: known keys, a few of
    the others, and of a value that is longer than any that can be read only so much that it shows.
    """
    ours = [key for key in annotations if names.is_owners(key)]
    known = sorted(key for key in ours if key in _SPECS)
    unknown = nsmallest(MOST_UNKNOWN, (key for key in ours if key not in _SPECS))
    return Written(
        given=tuple((key, annotations[key][: LONGEST_READ + 1]) for key in (*known, *unknown)),
        further=len(ours) - len(known) - len(unknown),
    )


# Cached: most Spaces say the same or nothing, and annotations change more seldom than decisions.
@lru_cache(maxsize=2048)
def _read(ours: Written, defaults: PolicyDefaults, has_routes: bool) -> PolicyReading:
    given = dict(ours.given)
    set_in = dict(defaults.set_in)
    problems: list[PolicyNote] = []

    def setting(key: str, read: Callable[[str], T], default: Setting[T]) -> Setting[T]:
        text = given.get(key)
        if text is None:
            return default
        try:
            return Setting(value=read(bounded(text)), source=Source.ANNOTATION)
        except ValueError as error:
            advice = unread(key)
            if isinstance(error, _ExplainedError):
                advice += f" ({error})"
            problems.append(PolicyNote(key=key, value=text, advice=advice))
            return default

    def built_in(value: T) -> Setting[T]:
        return Setting(value=value, source=Source.BUILT_IN)

    def default(key: str, value: T) -> Setting[T]:
        where = set_in.get(key)
        if where is None:
            return built_in(value)
        return Setting(value=value, source=Source.CONFIGURATION, where=where)

    def overridable(key: str, read: Callable[[str], T], value: T) -> Setting[T]:
        return setting(key, read, default(key, value))

    required = (
        built_in(frozenset({SignalName.API} | ({SignalName.TRAFFIC} if has_routes else set())))
        if defaults.required_signals is None
        else default(names.REQUIRED_SIGNALS, defaults.required_signals)
    )
    policy = SleepPolicy(
        mode=overridable(names.MODE, _mode, defaults.mode),
        sleep_after=overridable(names.SLEEP_AFTER, _sleep_after, defaults.sleep_after),
        notice=overridable(names.NOTICE, parse_duration, defaults.notice),
        awake_hours=overridable(names.AWAKE_HOURS, _awake_hours, defaults.awake_hours),
        timezone=overridable(names.TIMEZONE, _zone, defaults.timezone),
        keep_awake_until=setting(names.KEEP_AWAKE_UNTIL, _instant, built_in(None)),
        desired=setting(names.DESIRED, _desired, built_in(Desired.AUTO)),
        required_signals=setting(names.REQUIRED_SIGNALS, _signals, required),
        excluded=setting(names.EXCLUDE, read_flag, built_in(False)),
        local_data=overridable(names.LOCAL_DATA, read_local_data, defaults.local_data),
    )
    return PolicyReading(
        policy=policy,
        problems=tuple(problems),
        warnings=in_vain(ours, Target.NAMESPACE, without_effect),
    )


def in_vain(
    written: Written, on: Target, warning: Callable[[str, str, Target], PolicyNote | None]
) -> tuple[PolicyNote, ...]:
    """What ``warning`` says of each annotation, and how many more were not looked at."""
    notes = [note for key, value in written.given if (note := warning(key, value, on)) is not None]
    if written.further and notes:
        last = notes[-1]  # of an unknown key: they come last
        advice = f"{last.advice}; {written.further} more keys are not known and were not looked at"
        notes[-1] = replace(last, advice=advice)
    return tuple(notes)


def bounded(text: str) -> str:
    """``text``, unless it is too long to be tried.

    Raises:
        ValueError: it is.
    """
    if len(text) > LONGEST_READ:
        raise _ExplainedError(f"it is longer than {LONGEST_READ} characters")
    return text


def unread(key: str) -> str:
    """Advice on a value of a known key that cannot be read."""
    return f"cannot be read; expected {_SPECS[key].form}"


def without_effect(key: str, value: str, on: Target) -> PolicyNote | None:
    """The warning about a key that does nothing on such an object, or None."""
    spec = _SPECS.get(key)
    if spec is not None and on in spec.targets:
        return None
    if spec is not None:
        advice = f"{_NOT_HERE[on]}; {belongs(spec)}"
        return PolicyNote(key=key, value=value, advice=advice, ignored=True)
    advice = f"has no effect: {_KEY_IS_NOT_KNOWN}{_meant(key, on)}"
    return PolicyNote(key=key, value=value, advice=advice, ignored=True)


_KEY_IS_NOT_KNOWN: Final = "the key is not known"


def _meant(key: str, on: Target) -> str:
    near = get_close_matches(key.removeprefix(_PREFIX), _MEANT[on], n=1)
    if not near:
        return ""
    meant = _SPECS[_PREFIX + near[0]]
    return f"; did you mean {meant.key} ({meant.form})?"


def labels_in_vain(
    labels: Mapping[str, str] | None, annotations: Mapping[str, str] | None, on: Target
) -> tuple[PolicyNote, ...]:
    """Notes on labels that are meant for us: only the tenant is one, all else are annotations.

    Args:
        labels: of the object.
        annotations: of the object; what is said there too need not be moved there.
        on: the sort of object.
    """
    ours = {
        key: value
        for key, value in (labels or {}).items()
        if names.is_owners(key) and key not in _LABELS and key not in (annotations or {})
    }
    return in_vain(written_by_owner(ours), on, _label_in_vain) if ours else ()


_LABELS: Final = frozenset({names.LABEL_TENANT, names.LABEL_SPACE_UID})


def _label_in_vain(key: str, value: str, on: Target) -> PolicyNote:
    spec = _SPECS.get(key)
    if spec is None:
        return PolicyNote(
            key=key,
            value=value,
            advice=f"is a label and has no effect: {_KEY_IS_NOT_KNOWN}{_meant(key, on)}",
            ignored=True,
        )
    place = "the annotations"
    if on not in spec.targets:
        place += f" of {' or '.join(_PLACES[target] for target in reversed(spec.targets))}"
    advice = f"is a label and has no effect; it belongs in {place}"
    return PolicyNote(key=key, value=value, advice=advice, ignored=True)


def belongs(spec: AnnotationSpec) -> str:
    """Where an annotation has an effect, as half a sentence."""
    return f"it belongs on {' or '.join(_PLACES[target] for target in reversed(spec.targets))}"


_PLACES: Final = {Target.NAMESPACE: "the namespace", Target.WORKLOAD: "a workload"}

_NOT_HERE: Final = {
    Target.NAMESPACE: "has no effect on a namespace",
    Target.WORKLOAD: "has no effect on a workload",
    Target.OTHER: "has no effect here",
}

_MEANT: Final = {
    target: tuple(
        spec.key.removeprefix(_PREFIX)
        for spec in ANNOTATIONS
        if not spec.by_us and (target in spec.targets or target is Target.OTHER)
    )
    for target in Target
}


class _ExplainedError(ValueError):
    """A value that cannot be read, where the reader knows which part of it."""


def _mode(text: str) -> Mode:
    return Mode(text.strip())


def _desired(text: str) -> Desired:
    return Desired(text.strip())


def read_local_data(text: str) -> LocalData:
    """``keep`` or ``disposable``.

    Raises:
        ValueError: it is neither.
    """
    return LocalData(text.strip())


def _sleep_after(text: str) -> timedelta | Never:
    if text.strip() == Never.NEVER.value:
        return Never.NEVER
    duration = parse_duration(text)
    if not duration:
        # Elsewhere 0 means "off" as often as "at once"; nobody's workloads should hang on a guess.
        raise _ExplainedError("`0` is not allowed; `sleeper sleep` puts it to sleep now")
    return duration


def _awake_hours(text: str) -> AwakeHours | None:
    try:
        return _hours(text)
    except ValueError as error:
        raise _ExplainedError(str(error)) from error


_hours: Final = lru_cache(maxsize=1024)(parse_awake_hours)


def _zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text.strip())
    except (KeyError, OSError) as error:  # unknown; a directory or nothing readable of that name
        raise ValueError(str(error)) from error


def _instant(text: str) -> datetime | None:
    return parse_instant(text)


def _signals(text: str) -> frozenset[SignalName]:
    return frozenset(SignalName(name.strip()) for name in text.split(","))


def read_flag(text: str) -> bool:
    """``true`` or ``false``, whatever their case.

    Raises:
        ValueError: it is neither.
    """
    match text.strip().lower():
        case "true":
            return True
        case "false":
            return False
        case _:
            raise ValueError(text)
