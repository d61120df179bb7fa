"""How the program says what happened, to those who watch it: in its own words, no metric names."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol


class Recorder(Protocol):
    """What happened, for those who watch us. Must never fail and never wait."""

    def spaces(self, by_state: Mapping[str, int]) -> None:
        """Number of Spaces in each power state; a state that is left out has none."""

    def restored_asleep(self, workloads: int) -> None:
        """Workloads that were restored or copied while they slept, and stay at zero."""

    def verdict(self, reason: str, kind: str) -> None:
        """One verdict was reached."""

    def signal_watermark(self, signal: str, source: str, at: datetime) -> None:
        """A source has surely seen everything up to ``at``."""

    def signal_unknown(self, signal: str, source: str, reason: str | None) -> None:
        """Why a source cannot be trusted now; None: it can."""

    def signal_gap(self, signal: str, source: str, reason: str) -> None:
        """A stretch in which something may have been lost for ever."""

    def audit_batch(self, apiserver: str, fate: str, events: int, seconds: float) -> None:
        """One request of an API server to our sink: what became of it and how long it took."""

    def audit_event(self, actor_class: str, fate: str, count: int = 1) -> None:
        """Audit events by who caused them and what became of them."""

    def audit_stamps_disbelieved(self, count: int) -> None:
        """Audit events with a time stamp that makes no sense."""

    def transition(self, kind: str, outcome: str, seconds: float) -> None:
        """A sleep or wake came to its end."""

    def write(self, kind: str, verb: str, outcome: str) -> None:
        """One write to the API server for a sleep or wake."""

    def policy_problem(self, key: str) -> None:
        """An annotation could not be read."""

    def lease(self, *, leading: bool) -> None:
        """We hold the Lease, or no longer do."""

    def reflector(self, resource: str, event: str) -> None:
        """A list, watch, re-list or error of one resource's reflector."""

    def clock_step(self, seconds: float) -> None:
        """Wall time moved by this much against monotonic time."""

    def event_dropped(self) -> None:
        """A Kubernetes Event was left out because of the rate limit or an error."""

    def stranger_turned_out(self, door: str) -> None:
        """A connection of nobody that we know was ended to make room for another one."""

    def traffic_query(self, outcome: str, seconds: float) -> None:
        """One query to Prometheus."""

    def meter_gap(self, seconds: float) -> None:
        """A stretch that the meter did not see."""

    def decide_seconds(self, seconds: float) -> None:
        """Time that one verdict took to compute."""


class NullRecorder:
    """A :class:`Recorder` for whom nobody watches."""

    def spaces(self, by_state: Mapping[str, int]) -> None:
        """Nothing."""

    def restored_asleep(self, workloads: int) -> None:
        """Nothing."""

    def verdict(self, reason: str, kind: str) -> None:
        """Nothing."""

    def signal_watermark(self, signal: str, source: str, at: datetime) -> None:
        """Nothing."""

    def signal_unknown(self, signal: str, source: str, reason: str | None) -> None:
        """Nothing."""

    def signal_gap(self, signal: str, source: str, reason: str) -> None:
        """Nothing."""

    def audit_batch(self, apiserver: str, fate: str, events: int, seconds: float) -> None:
        """Nothing."""

    def audit_event(self, actor_class: str, fate: str, count: int = 1) -> None:
        """Nothing."""

    def audit_stamps_disbelieved(self, count: int) -> None:
        """Nothing."""

    def transition(self, kind: str, outcome: str, seconds: float) -> None:
        """Nothing."""

    def write(self, kind: str, verb: str, outcome: str) -> None:
        """Nothing."""

    def policy_problem(self, key: str) -> None:
        """Nothing."""

    def lease(self, *, leading: bool) -> None:
        """Nothing."""

    def reflector(self, resource: str, event: str) -> None:
        """Nothing."""

    def clock_step(self, seconds: float) -> None:
        """Nothing."""

    def event_dropped(self) -> None:
        """Nothing."""

    def stranger_turned_out(self, door: str) -> None:
        """Nothing."""

    def traffic_query(self, outcome: str, seconds: float) -> None:
        """Nothing."""

    def meter_gap(self, seconds: float) -> None:
        """Nothing."""

    def decide_seconds(self, seconds: float) -> None:
        """Nothing."""
