"""All signals side by side, as the verdict loop sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Protocol

from metrics.core.activity import SpaceActivity
from metrics.core.signals import Activity, OpenStream, SignalName, SignalView

ActivityListener = Callable[[str, Activity], None]
"""Called with the Space's name, in the loop's thread, at once; must be cheap."""


class Signal(Protocol):
    """One signal."""

    def view(self, now: datetime) -> SignalView:
        """How far it has surely seen."""
        ...

    def activity(self, space_name: str) -> SpaceActivity | None:
        """Latest proof of use of a Space, or None."""
        ...

    def subscribe(self, listener: ActivityListener) -> None:
        """Be told of activity as it arrives."""
        ...


class Streams(Protocol):
    """Who knows which streams are open."""

    def streams(self, space_name: str, now: datetime) -> tuple[OpenStream, ...]:
        """Streams of the Space that are, or may still be, open."""
        ...


class SignalBoard:
    """The signals that are switched on; one that is not here is Unknown to every decision."""

    def __init__(self, signals: Mapping[SignalName, Signal], streams: Streams | None) -> None:
        self._signals = dict(signals)
        self._streams = streams
        self._last_trust: tuple[object, ...] | None = None

    def views(self, now: datetime) -> Mapping[SignalName, SignalView]:
        """Every signal's view at ``now``."""
        return {name: signal.view(now) for name, signal in self._signals.items()}

    def trust_changed(self, views: Mapping[SignalName, SignalView]) -> bool:
        """Whether a signal became blind, regained sight or closed a gap since the last call.

        Watermarks that merely advance are not news: ``recheck_at`` foresees them.
        """
        trust = tuple(
            (name, view.unknown_because, view.watermark is None, view.last_gap_end, view.unheard)
            for name, view in sorted(views.items())
        )
        changed = trust != self._last_trust
        self._last_trust = trust
        return changed

    def activity(self, space_name: str) -> SpaceActivity | None:
        """Latest proof of use over all signals, and latest touch through the API; or None."""
        merged: SpaceActivity | None = None
        for name, signal in self._signals.items():
            seen = signal.activity(space_name)
            if seen is not None:
                if name is SignalName.TRAFFIC:
                    seen = SpaceActivity(latest=seen.latest)
                merged = seen if merged is None else merged.merge(seen)
        return merged

    def visit(self, space_name: str) -> Activity | None:
        """The latest web visit of the Space, or None."""
        signal = self._signals.get(SignalName.TRAFFIC)
        seen = None if signal is None else signal.activity(space_name)
        return None if seen is None else seen.touch

    def streams(self, space_name: str, now: datetime) -> tuple[OpenStream, ...]:
        """Open streams of the Space."""
        return () if self._streams is None else self._streams.streams(space_name, now)

    def subscribe(self, listeners: Iterable[ActivityListener]) -> None:
        """Pass every activity of every signal to the listeners."""
        for listener in listeners:
            for signal in self._signals.values():
                signal.subscribe(listener)
