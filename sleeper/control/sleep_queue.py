"""How many Spaces fall asleep at a time, and who waits.

When the awake-hours of a whole cluster end, every Space is due in the same second. Those that wait
are decided anew when it is their turn, so that nobody sleeps on a decision that has grown old.
"""

from __future__ import annotations


class SleepQueue:
    """Hands out turns, first come, first served.

    Args:
        most: turns at a time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: set[str] = set()
        self._waiting: dict[str, None] = {}  # insertion-ordered set

    def has_turn(self, name: str) -> bool:
        """Whether there is room; a Space for which there is none is kept in mind."""
        if name in self._taken or len(self._taken) < self._most:
            return True
        self._waiting[name] = None
        return False

    def begin(self, name: str) -> None:
        """The Space takes its turn, there being room or not."""
        self._taken.add(name)

    def end(self, name: str) -> None:
        """The Space's turn is over."""
        self._taken.discard(name)

    def called_up(self) -> tuple[str, ...]:
        """As many of those that wait as there is room for; they wait no more."""
        called = tuple(self._waiting)[: max(0, self._most - len(self._taken))]
        for name in called:
            del self._waiting[name]
        return called
