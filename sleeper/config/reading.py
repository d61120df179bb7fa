"""Reading settings from a YAML file and the environment, strictly and all problems at once.

``SLEEPER_API__PORT=9090`` sets ``api.port`` and wins over the file. Variables with ``__`` must name
a setting; others that begin with ``SLEEPER_`` and name none are not ours to judge (Kubernetes sets
``SLEEPER_PORT`` and the like for a Service of our name).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, get_args, get_origin, get_type_hints

import yaml

from sleeper.config.rules import contradictions
from sleeper.config.settings import Config
from sleeper.config.values import read_value
from sleeper.core import names
from sleeper.core.policy import PolicyDefaults
from sleeper.errors import ConfigError

ENVIRONMENT_PREFIX: Final = "SLEEPER_"
BY_DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedConfig:
    """Settings with their provenance.

    Attributes:
        config: the settings.
        sources: dotted name of each setting → ``default``, or which file or variable set it.
    """

    config: Config
    sources: Mapping[str, str]

    @property
    def policy_defaults(self) -> PolicyDefaults:
        """What holds for a Space that says nothing itself, and where that was set."""
        defaults = self.config.defaults
        return PolicyDefaults(
            mode=self.config.mode,
            sleep_after=defaults.sleep_after,
            notice=defaults.notice,
            awake_hours=defaults.awake_hours,
            timezone=defaults.timezone,
            required_signals=defaults.required_signals,
            local_data=defaults.local_data,
            set_in=tuple(
                (key, f"{dotted} ({self.sources[dotted]})")
                for key, dotted in _BEHIND_ANNOTATIONS
                if self.sources[dotted] != BY_DEFAULT
            ),
        )


_BEHIND_ANNOTATIONS: Final = (
    (names.MODE, "mode"),
    (names.SLEEP_AFTER, "defaults.sleep_after"),
    (names.NOTICE, "defaults.notice"),
    (names.AWAKE_HOURS, "defaults.awake_hours"),
    (names.TIMEZONE, "defaults.timezone"),
    (names.REQUIRED_SIGNALS, "defaults.required_signals"),
    (names.LOCAL_DATA, "defaults.local_data"),
)
"""Annotation → the setting that holds where it is missing."""


@dataclass(frozen=True, slots=True)
class _Given:
    """A raw value and who gave it."""

    value: Any
    source: str


def load_config(path: Path | None, environment: Mapping[str, str]) -> LoadedConfig:
    """Read, check and cross-check all settings.

    Args:
        path: a YAML file (JSON is YAML too); None: the environment alone.
        environment: usually ``os.environ``.

    Raises:
        ConfigError: with one line for each problem.
    """
    reader = _Reader()
    if path is not None:
        reader.take(_parse_file(path), source=f"file {path}")
    for name, text in environment.items():
        reader.take_variable(name, text)
    config = reader.build(Config, "")
    if not reader.unreadable:  # defaults stand in for those, and would be judged instead
        assert isinstance(config, Config)
        reader.problems += contradictions(config)
    if reader.problems:
        raise ConfigError("\n".join(reader.problems))
    return LoadedConfig(config=config, sources=reader.sources)


def listed_section(wanted: Any) -> type | None:
    """The section's class where a setting is a list of sections, else None."""
    item = next(iter(get_args(wanted)), None)
    if get_origin(wanted) is tuple and is_dataclass(item):
        return _as_class(item)
    return None


def setting_fields(section: type) -> Iterator[tuple[Field[Any], Any]]:
    """Each field of a section with its resolved type."""
    hints = _hints(section)
    for declared in fields(section):
        yield declared, hints[declared.name]


@cache
def _hints(section: type) -> Mapping[str, Any]:
    return get_type_hints(section)


def _parse_file(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)  # noqa: S506 a safe one
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error


class _StrictLoader(yaml.SafeLoader):
    """YAML's own rule, which the library does not keep: no key stands twice in a mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        problem=f"the key {key.value!r} stands there twice",
                        problem_mark=key.start_mark,
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


class _Reader:
    """Collects raw values by dotted name, then builds the sections from them."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.unreadable = False
        self.sources: dict[str, str] = {}
        self._given: dict[str, _Given] = {}

    def take(self, document: Any, *, source: str) -> None:
        """A whole document."""
        if document is None:  # an empty file
            return
        self._take_section(Config, "", document, source)

    def take_variable(self, name: str, text: str) -> None:
        """One variable of the environment."""
        if not name.startswith(ENVIRONMENT_PREFIX):
            return
        dotted = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
        wanted = _leaves().get(dotted)
        if wanted is None:
            if "." in dotted:
                self.problems.append(f"{name}: unknown setting{_did_you_mean(dotted, _leaves())}")
            return
        source = f"environment {name}"
        if str in (wanted, *get_args(wanted)):
            self._given[dotted] = _Given(text, source)
            return
        try:
            self._given[dotted] = _Given(yaml.safe_load(text), source)
        except yaml.YAMLError:
            self.problems.append(f"{name}: {text!r} cannot be read")

    def build(self, section: type, prefix: str) -> Any:
        """An instance of ``section``; where there were problems its defaults stand in."""
        values: dict[str, Any] = {}
        for declared, wanted in setting_fields(section):
            dotted = prefix + declared.name
            if is_dataclass(wanted):
                values[declared.name] = self.build(_as_class(wanted), f"{dotted}.")
                continue
            given = self._given.get(dotted)
            if given is None:
                self.sources[dotted] = BY_DEFAULT
                continue
            self.sources[dotted] = given.source
            try:
                values[declared.name] = self._read(declared, wanted, dotted, given)
            except ValueError as error:
                shown = "(not shown)" if declared.metadata["secret"] else repr(given.value)
                self.unreadable = True
                self.problems.append(f"{dotted}: {shown}: {error} ({given.source})")
        return section(**values)

    def _take_section(self, section: type, prefix: str, document: Any, source: str) -> None:
        if not isinstance(document, Mapping):
            name = prefix.rstrip(".") or "the configuration"
            self.problems.append(f"{name}: expected a mapping of settings ({source})")
            return
        known = {declared.name: wanted for declared, wanted in setting_fields(section)}
        for key, value in document.items():
            dotted = f"{prefix}{key}"
            if key not in known:
                hint = _did_you_mean(str(key), known)
                self.problems.append(f"{dotted}: unknown setting{hint} ({source})")
            elif not is_dataclass(known[key]):
                self._given[dotted] = _Given(value, source)
            elif value is not None:
                self._take_section(_as_class(known[key]), f"{dotted}.", value, source)

    def _read(self, declared: Field[Any], wanted: Any, dotted: str, given: _Given) -> Any:
        section = listed_section(wanted)
        if section is not None:
            if not isinstance(given.value, list):
                raise ValueError("expected a list")
            return tuple(
                self._item(section, f"{dotted}[{index}]", entry, given.source)
                for index, entry in enumerate(given.value)
            )
        value = read_value(wanted, given.value)
        _check_bounds(declared, value)
        return value

    def _item(self, section: type, dotted: str, entry: Any, source: str) -> Any:
        if not isinstance(entry, Mapping):
            raise ValueError("expected a list of mappings")  # noqa: TRY004 said of a value
        known = {declared.name: wanted for declared, wanted in setting_fields(section)}
        for key in entry:
            if key not in known:
                hint = _did_you_mean(str(key), known)
                self.problems.append(f"{dotted}.{key}: unknown setting{hint} ({source})")
        required = [f.name for f in fields(section) if f.default is MISSING]
        if missing := [name for name in required if name not in entry]:
            raise ValueError(f"item {dotted} lacks {' and '.join(missing)}")
        return section(
            **{name: read_value(known[name], entry[name]) for name in known if name in entry}
        )


def _check_bounds(declared: Field[Any], value: Any) -> None:
    if not isinstance(value, int | float):
        return
    bounds = declared.metadata
    if bounds["at_least"] is not None and value < bounds["at_least"]:
        raise ValueError(f"must be at least {bounds['at_least']:.10g}")
    if bounds["above"] is not None and value <= bounds["above"]:
        raise ValueError(f"must be more than {bounds['above']:.10g}")
    if bounds["at_most"] is not None and value > bounds["at_most"]:
        raise ValueError(f"must be at most {bounds['at_most']:.10g}")


@cache
def _leaves() -> Mapping[str, Any]:
    """Every setting outside lists: dotted name → type."""

    def walk(section: type, prefix: str) -> Iterator[tuple[str, Any]]:
        for declared, wanted in setting_fields(section):
            if is_dataclass(wanted):
                yield from walk(_as_class(wanted), f"{prefix}{declared.name}.")
            else:
                yield prefix + declared.name, wanted

    return dict(walk(Config, ""))


def _as_class(wanted: Any) -> type:
    assert isinstance(wanted, type)
    return wanted


def _did_you_mean(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
