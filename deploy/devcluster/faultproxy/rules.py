"""What to match and what to do then: the wire form of a fault rule, and the book of rules."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import msgspec


class Moment(StrEnum):
    """When in the life of a request a fault strikes."""

    BEFORE = "before"
    """Not forwarded yet: it has had no effect."""
    AFTER = "after"
    """The upstream has answered, so it took effect, but the caller does not know."""
    ANSWERED = "answered"
    """The caller has the answer, and nothing it sends afterwards is forwarded (kill only)."""


class _Wire(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Strict on the wire: a misspelt key in a test must not become a fault that never fires."""


class Match(_Wire, frozen=True, kw_only=True):
    """Which requests a rule is about.

    Attributes:
        methods: HTTP methods; empty: any.
        path: regular expression searched in path and query.
        body: regular expression searched in the request body; empty: any.
        without: regular expression that must not be found in the body; empty: nothing is excluded.
        skip: how many matching requests to let pass first.
        times: how many to strike then; None: all.
    """

    methods: frozenset[str] = frozenset()
    path: str = ""
    body: str = ""
    without: str = ""
    skip: int = 0
    times: int | None = 1


class Delay(_Wire, frozen=True, kw_only=True, tag="delay"):
    """Wait ``seconds``."""

    seconds: float
    at: Moment = Moment.BEFORE


class Hold(_Wire, frozen=True, kw_only=True, tag="hold"):
    """Wait until the rule is released."""

    at: Moment = Moment.BEFORE


class Drop(_Wire, frozen=True, kw_only=True, tag="drop"):
    """Tear the caller's connection down."""

    at: Moment = Moment.BEFORE


class Respond(_Wire, frozen=True, kw_only=True, tag="respond"):
    """Answer this and forward nothing."""

    status: int
    body: str = ""
    headers: dict[str, str] = {}


class Kill(_Wire, frozen=True, kw_only=True, tag="kill"):
    """SIGKILL the process, wait until it is gone, then tear its connection down."""

    pid: int
    at: Moment = Moment.BEFORE


Fault: TypeAlias = Delay | Hold | Drop | Respond | Kill


class RuleSpec(_Wire, frozen=True, kw_only=True):
    """A rule as a test writes it."""

    match: Match
    fault: Fault


class RuleState(msgspec.Struct, frozen=True, kw_only=True):
    """A rule as a test reads it back: how many requests matched, and how many were struck."""

    id: int
    seen: int
    fired: int


@dataclass(slots=True)
class Rule:
    """A rule at work."""

    id: int
    spec: RuleSpec
    seen: int = 0
    fired: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)
    _path: re.Pattern[str] = field(init=False)
    _body: re.Pattern[bytes] = field(init=False)
    _without: re.Pattern[bytes] = field(init=False)

    def __post_init__(self) -> None:
        """Compile the expressions once; ``re.error`` says what is wrong with one."""
        self._path = re.compile(self.spec.match.path)
        self._body = re.compile(self.spec.match.body.encode())
        self._without = re.compile(self.spec.match.without.encode())

    @property
    def state(self) -> RuleState:
        """Its counters."""
        return RuleState(id=self.id, seen=self.seen, fired=self.fired)

    def matches(self, method: str, target: str, body: bytes) -> bool:
        """Whether the rule is about this request, whatever its counters say."""
        match = self.spec.match
        return (
            (not match.methods or method in match.methods)
            and self._path.search(target) is not None
            and self._body.search(body) is not None
            and not (match.without and self._without.search(body))
        )

    def strikes(self) -> bool:
        """Count one matching request; whether it is one of those to strike."""
        match = self.spec.match
        self.seen += 1
        if self.seen <= match.skip or (match.times is not None and self.fired >= match.times):
            return False
        self.fired += 1
        return True


class RuleBook:
    """All rules, oldest first; a request is struck by the first that wants it."""

    def __init__(self) -> None:
        self._rules: dict[int, Rule] = {}
        self._last_id = 0
        self._changed = asyncio.Condition()

    def __iter__(self) -> Iterator[Rule]:
        return iter(tuple(self._rules.values()))

    def get(self, rule_id: int) -> Rule | None:
        """The rule with that id, or None."""
        return self._rules.get(rule_id)

    def add(self, spec: RuleSpec) -> Rule:
        """Put a rule at the end of the book.

        Raises:
            re.error: an expression does not compile.
        """
        rule = Rule(self._last_id + 1, spec)
        self._last_id = rule.id
        self._rules[rule.id] = rule
        return rule

    def remove(self, rule_id: int) -> None:
        """Take a rule out and let go of what it holds."""
        rule = self._rules.pop(rule_id, None)
        if rule is not None:
            rule.released.set()

    async def claim(self, method: str, target: str, body: bytes) -> Rule | None:
        """The rule that strikes this request, or None."""
        claimed = None
        for rule in self:
            if rule.matches(method, target, body) and rule.strikes():
                claimed = rule
                break
        async with self._changed:
            self._changed.notify_all()
        return claimed

    async def until_fired(self, rule: Rule, times: int, *, timeout_seconds: float) -> bool:
        """Wait until the rule has struck ``times`` times; False when time ran out first."""
        try:
            async with asyncio.timeout(timeout_seconds), self._changed:
                await self._changed.wait_for(lambda: rule.fired >= times)
        except TimeoutError:
            return False
        return True
