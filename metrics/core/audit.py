"""Which audit events are proof that somebody used a Space.

The rules, in the order in which they are applied; the cheapest that drop the most come first.
They restate the audit API's own semantics (``audit.k8s.io/v1``, ``staging/src/k8s.io/apiserver``):

====  ====================================================================  =====================
step  rule                                                                  fate
====  ====================================================================  =====================
1     the effective user (impersonated, else authenticated) is a            Controller, Anonymous
      controller or nobody; an allow-listed service account is a deployer
2     no object, no namespace (cluster-wide requests, health checks)        NotASpace
3     the namespace is not a Space                                          NotASpace
4     a stream is followed from ``ResponseStarted`` to ``ResponseComplete``  (opens, closes)
      or ``Panic``, whatever the other rules say, except that who is refused
      opens none: a namespace may become a Space, and what we know of is
      compared with what the API server counts. A stream holds only where
      the rules on identity and user agent (1, 9, 10) let it
5     stage ``RequestReceived``, ``Panic``; ``ResponseStarted`` of          OtherStage
      anything but a stream
6     verb ``watch``: clients watch again for ever                          Watch
7     ``leases``; ``namespaces`` except ``delete`` (polling a Namespace     Ignored
      object is attributed to that namespace)
8     code 401, 403, 429 or ≥ 500, a decision other than ``allow``: a       Refused
      stranger must not keep a Space awake; other 4xx are a person who
      mistyped
9     our own user agent, whoever runs it                                   Own
10    a discounted user agent (GitOps, polling dashboards), except for      Discounted
      exec, attach and port-forward: nobody polls by terminal
11    all else                                                              Counted
====  ====================================================================  =====================

User agents are chosen by the client, so they only ever discount. The verb of a stream is ``get``
over WebSockets and ``create`` over SPDY, so streams are told by their subresource alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Final

import msgspec

from metrics.core.signals import ActorClass


class User(msgspec.Struct, frozen=True, gc=False):
    """``user`` or ``impersonatedUser``."""

    username: str = ""


class ObjectRef(msgspec.Struct, frozen=True, gc=False):
    """``objectRef``: set for every resource request, lists included."""

    resource: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""


class ResponseStatus(msgspec.Struct, frozen=True, gc=False):
    """``responseStatus``."""

    code: int = 0


class Annotations(msgspec.Struct, frozen=True, gc=False):
    """``annotations``; only the authorizer's decision."""

    decision: str | None = msgspec.field(default=None, name="authorization.k8s.io/decision")


class AuditEvent(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One ``audit.k8s.io/v1`` Event: the fields that the rules read, decoded off the wire.

    Times stay text until an event counts: most do not.
    """

    stage: str
    audit_id: str = msgspec.field(default="", name="auditID")
    verb: str = ""
    user: User = User()
    object_ref: ObjectRef | None = None
    stage_timestamp: str = ""
    impersonated_user: User | None = None
    response_status: ResponseStatus | None = None
    user_agent: str = ""
    annotations: Annotations | None = None
    request_received_timestamp: str = ""

    @property
    def effective_user(self) -> str:
        """Name of the user in whose name the request was carried out."""
        return (self.impersonated_user or self.user).username


class Fate(StrEnum):
    """What became of an event; metric label."""

    COUNTED = "Counted"
    NOT_A_SPACE = "NotASpace"
    OTHER_STAGE = "OtherStage"
    WATCH = "Watch"
    IGNORED = "Ignored"
    REFUSED = "Refused"
    OWN = "Own"
    CONTROLLER = "Controller"
    ANONYMOUS = "Anonymous"
    DISCOUNTED = "Discounted"


STREAMS: Final = frozenset(
    {
        ("pods", "exec"),
        ("pods", "attach"),
        ("pods", "portforward"),
        ("pods", "log"),
        ("pods", "proxy"),
        ("services", "proxy"),
    }
)
"""Long-running requests (other than watches): they emit ``ResponseStarted`` and hold while open."""

_STREAMED: Final = frozenset(subresource for _, subresource in STREAMS)

TERMINALS: Final = frozenset({"exec", "attach", "portforward"})
"""Streams that only a person opens; a discounted user agent does not discount them."""

CONTROLLER_PREFIXES: Final = (
    "system:serviceaccount:",
    "system:node:",
    "system:kube-",
    "system:apiserver",
    "system:aggregator",
    "system:bootstrap:",
    "eks:",
    "gke-",
    "azure-",
)
"""User names of machines. Not here on purpose: ``masterclient`` and ``system:masters``, which is
how a human administrator shows on AKS."""

CONTROLLER_NAMES: Final = frozenset({"aksService"})
ANONYMOUS_NAMES: Final = frozenset({"system:anonymous", ""})

DEFAULT_DISCOUNTED_AGENTS: Final = (
    "argocd*",
    "flux*",
    "kustomize-controller*",
    "helm-controller*",
    "source-controller*",
    "kube-state-metrics*",
    "metrics-server*",
    "Prometheus/*",
    "dashboard*",
    "kubernetes-dashboard*",
    "headlamp*",
)
"""Clients that poll on nobody's behalf; ``*`` stands for any ending."""

_REFUSED_CODES: Final = frozenset({401, 403, 429})
_CACHED_USERS: Final = 10_000


class StreamEdge(StrEnum):
    """What an event says about a stream."""

    OPENS = "opens"
    CLOSES = "closes"


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What one event means. Told apart by identity, so that a batch is counted at C's speed.

    Attributes:
        fate: why it counts or does not.
        actor: who, where the rules came so far as to ask.
        edge: it opens or closes a stream.
        holds: the stream holds its Space awake while it is open; others are only counted.
        matters: it counts, or it opens or closes a stream.
    """

    fate: Fate
    actor: ActorClass | None = None
    edge: StreamEdge | None = None
    holds: bool = True
    matters: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "matters", self.fate is Fate.COUNTED or self.edge is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReading:
    """What a batch means.

    Attributes:
        counts: how many events mean what.
        mattering: the events that count, or open or close a stream, in their order. Each has an
            object.
    """

    counts: Mapping[Reading, int]
    mattering: tuple[tuple[AuditEvent, ObjectRef, Reading], ...]


_NOT_A_SPACE: Final = Reading(Fate.NOT_A_SPACE)
_OTHER_STAGE: Final = Reading(Fate.OTHER_STAGE)
_WATCH: Final = Reading(Fate.WATCH)
_IGNORED: Final = Reading(Fate.IGNORED)
_REFUSED: Final = Reading(Fate.REFUSED)
_OWN: Final = Reading(Fate.OWN, ActorClass.SELF)
_NOT_COUNTED: Final = {
    ActorClass.CONTROLLER: Reading(Fate.CONTROLLER, ActorClass.CONTROLLER),
    ActorClass.ANONYMOUS: Reading(Fate.ANONYMOUS, ActorClass.ANONYMOUS),
}
_DISCOUNTED: Final = {
    actor: Reading(Fate.DISCOUNTED, actor) for actor in (ActorClass.HUMAN, ActorClass.DEPLOYER)
}
_COUNTED: Final = {
    (actor, edge): Reading(Fate.COUNTED, actor, edge)
    for actor in (ActorClass.HUMAN, ActorClass.DEPLOYER)
    for edge in (None, *StreamEdge)
}


@lru_cache(maxsize=256)
def _edged(fate: Fate, actor: ActorClass | None, edge: StreamEdge, *, holds: bool) -> Reading:
    """One value for each meaning: readings are told apart by identity."""
    return Reading(fate, actor, edge, holds)


def _edge(event: AuditEvent, ref: ObjectRef) -> StreamEdge | None:
    """Whether the event is an end of a stream, and which."""
    if (ref.resource, ref.subresource) not in STREAMS:
        return None
    return _EDGES.get(event.stage)


_EDGES: Final = {
    "ResponseStarted": StreamEdge.OPENS,
    "ResponseComplete": StreamEdge.CLOSES,
    "Panic": StreamEdge.CLOSES,
}


def is_refused(event: AuditEvent) -> bool:
    """Whether the API server turned the request down, or could not serve it."""
    status = event.response_status
    code = 0 if status is None else status.code
    if code >= 500 or code in _REFUSED_CODES:  # noqa: PLR2004 HTTP's own classes
        return True
    decision = None if event.annotations is None else event.annotations.decision
    return decision is not None and decision != "allow"


_Actor = tuple[ActorClass, Reading | None]
"""The class of a user name; and what all its events mean, where that follows from it."""


class AuditRules:
    """The rules with what an installation may set; reading an event has no side effects.

    Args:
        own_agent: prefix of our own user agent.
        deployers: user names of service accounts (or provider users) that count as deployers.
        discounted_agents: user agents that do not count, a trailing ``*`` for any ending.
    """

    def __init__(
        self,
        *,
        own_agent: str,
        deployers: Iterable[str] = (),
        discounted_agents: Iterable[str] = DEFAULT_DISCOUNTED_AGENTS,
    ) -> None:
        patterns = tuple(discounted_agents)
        self._own_agent = own_agent
        self._deployers = frozenset(deployers)
        self._agent_prefixes = tuple(p[:-1] for p in patterns if p.endswith("*"))
        self._agents = frozenset(p for p in patterns if not p.endswith("*"))
        self._actors: dict[str, _Actor] = {}

    def read(self, events: Iterable[AuditEvent], is_space: Callable[[str], bool]) -> BatchReading:
        """What a batch's events mean; the table in the module's docstring.

        One loop with the commonest endings inlined: it runs for every event that an API server
        sends.
        """
        readings: list[Reading] = []
        add = readings.append
        mattering: list[tuple[AuditEvent, ObjectRef, Reading]] = []
        actors = self._actors
        spaces: dict[str, bool] = {"": False}  # asking may be dear
        streamed = _STREAMED
        for event in events:
            username = (event.impersonated_user or event.user).username
            actor, uncounted = actors.get(username) or self._know(username)
            ref = event.object_ref
            if uncounted is not None:
                if ref is not None and ref.subresource in streamed and ref.namespace:
                    uncounted = self._only_counted(event, ref, uncounted)
                    if uncounted.matters:
                        mattering.append((event, ref, uncounted))
                add(uncounted)
                continue
            if ref is None:
                add(_NOT_A_SPACE)
                continue
            namespace = ref.namespace
            in_space = spaces.get(namespace)
            if in_space is None:
                in_space = spaces[namespace] = is_space(namespace)
            if not in_space:
                reading = _NOT_A_SPACE
                if ref.subresource in streamed and namespace:
                    seen = self._read_edge(event, ref, actor)
                    if seen.edge is not None:
                        reading = _edged(Fate.NOT_A_SPACE, None, seen.edge, holds=seen.holds)
                        mattering.append((event, ref, reading))
                add(reading)
                continue
            if event.stage == "ResponseComplete" and not ref.subresource:
                reading = self._count(event, ref, actor, None)
            else:
                reading = self._read_edge(event, ref, actor)
            add(reading)
            if reading.matters:
                mattering.append((event, ref, reading))
        return BatchReading(counts=Counter(readings), mattering=tuple(mattering))

    def _know(self, username: str) -> _Actor:
        """Work out who it is, and remember that."""
        if len(self._actors) >= _CACHED_USERS:
            self._actors.clear()
        actor = self._classify(username)
        known = self._actors[username] = (actor, _NOT_COUNTED.get(actor))
        return known

    def _read_edge(self, event: AuditEvent, ref: ObjectRef, actor: ActorClass) -> Reading:
        """An event of a subresource, or of a stage other than the usual one."""
        edge = _edge(event, ref)
        if edge is StreamEdge.OPENS or event.stage == "ResponseComplete":
            reading = self._count(event, ref, actor, edge)
        else:
            reading = _OTHER_STAGE
        if edge is None or (edge is StreamEdge.OPENS and reading.fate is Fate.REFUSED):
            return reading
        # Not by what it was answered: both ends of a stream must be told alike.
        agent = event.user_agent
        holds = not agent.startswith(self._own_agent) and (
            ref.subresource in TERMINALS or not self._is_discounted(agent)
        )
        if reading.edge is edge and reading.holds is holds:
            return reading
        return _edged(reading.fate, reading.actor, edge, holds=holds)

    def _only_counted(self, event: AuditEvent, ref: ObjectRef, uncounted: Reading) -> Reading:
        """An event of somebody whose streams hold nothing: their ends are followed all the same."""
        edge = _edge(event, ref)
        if edge is None or (edge is StreamEdge.OPENS and is_refused(event)):
            return uncounted
        return _edged(uncounted.fate, uncounted.actor, edge, holds=False)

    def _count(
        self, event: AuditEvent, ref: ObjectRef, actor: ActorClass, edge: StreamEdge | None
    ) -> Reading:
        """What became of a finished request, or of a stream's edge, of a person or deployer."""
        verb, resource = event.verb, ref.resource
        if verb == "watch":
            return _WATCH
        if resource == "leases" or (resource == "namespaces" and verb != "delete"):
            return _IGNORED
        if is_refused(event):
            return _REFUSED
        agent = event.user_agent
        if agent.startswith(self._own_agent):
            return _OWN
        if ref.subresource not in TERMINALS and self._is_discounted(agent):
            return _DISCOUNTED[actor]
        return _COUNTED[actor, edge]

    def _is_discounted(self, agent: str) -> bool:
        return agent in self._agents or agent.startswith(self._agent_prefixes)

    def _classify(self, username: str) -> ActorClass:
        if username in self._deployers:
            return ActorClass.DEPLOYER
        if username in ANONYMOUS_NAMES:
            return ActorClass.ANONYMOUS
        if username in CONTROLLER_NAMES or username.startswith(CONTROLLER_PREFIXES):
            return ActorClass.CONTROLLER
        return ActorClass.HUMAN
