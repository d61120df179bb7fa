"""What the verdict loop has to look at next: a heap of instants and a set of news.

Never a scan: a Space is due because something about it changed, or because its ``recheck_at``
came. Each key stands in the heap at most once in effect; overtaken
entries are skipped lazily and swept when they outnumber the living.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from datetime import datetime


class Agenda:
    """Keys that are due, by news or by time."""

    def __init__(self) -> None:
        self._news: dict[str, None] = {}  # insertion-ordered set
        self._heap: list[tuple[datetime, str]] = []
        self._at: dict[str, datetime] = {}

    def tell(self, keys: Iterable[str]) -> None:
        """Something about these keys changed: they are due now."""
        for key in keys:
            self._news[key] = None

    def set(self, key: str, at: datetime | None) -> None:
        """Look at ``key`` again at ``at``; None: only when there is news."""
        if at is None:
            self._at.pop(key, None)
        elif self._at.get(key) != at:
            self._at[key] = at
            heapq.heappush(self._heap, (at, key))
            if len(self._heap) > 64 + 4 * len(self._at):
                self._heap = [(when, name) for name, when in self._at.items()]
                heapq.heapify(self._heap)

    def take_due(self, now: datetime) -> tuple[str, ...]:
        """Keys that are due, news first; they are off the agenda until set or told again."""
        due = self._news
        self._news = {}
        while (at := self.next_at()) is not None and at <= now:
            _, key = heapq.heappop(self._heap)
            del self._at[key]
            due[key] = None
        for key in due:
            self._at.pop(key, None)
        return tuple(due)

    def next_at(self) -> datetime | None:
        """The next instant on the agenda; None if only news can come."""
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    @property
    def has_news(self) -> bool:
        """True while some key is due by news."""
        return bool(self._news)
