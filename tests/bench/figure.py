"""What is measured, declared before it is measured, and how a number of it is shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

HEAD = ("Figure", "Measured", "Goal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One thing to measure.

    Attributes:
        name: what is measured, in words; unique over all benches.
        unit: of its numbers; empty for a ratio or a count.
        at_most, at_least: the goal, if there is one.
        places: decimal places that mean something.
        note: what a reader needs to judge it.
    """

    name: str
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None
    places: int = 2
    note: str = ""

    @property
    def label(self) -> str:
        """Name and note."""
        return f"{self.name} ({self.note})" if self.note else self.name

    @property
    def goal(self) -> str:
        """The goal in words; empty: there is none."""
        if self.at_most is not None:
            return f"at most {self.shown(self.at_most)}"
        return "" if self.at_least is None else f"at least {self.shown(self.at_least)}"

    def met(self, value: float) -> bool | None:
        """Whether a number meets the goal; None: there is none."""
        if self.at_most is not None:
            return value <= self.at_most
        return None if self.at_least is None else value >= self.at_least

    def shown(self, value: float) -> str:
        """A number with its unit."""
        return f"{value:,.{self.places}f} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A measurement of some figures.

    Attributes:
        figures: in the order in which they are shown.
        measure: a number for each of them.
    """

    figures: tuple[Figure, ...]
    measure: Callable[[], Awaitable[Mapping[Figure, float]]]


def table(measured: Iterable[tuple[Figure, float]]) -> str:
    """A Markdown table, as ``docs/figures.md`` holds it."""
    rows = [HEAD, tuple("---" for _ in HEAD)]
    for figure, value in measured:
        short = ": **short of it**" if figure.met(value) is False else ""
        rows.append((figure.label, figure.shown(value), figure.goal + short))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
