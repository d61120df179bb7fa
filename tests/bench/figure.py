"""One measured number, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

HEAD = ("Figure", "Measured", "Goal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number.

    Attributes:
        name: what was measured, in words; unique over all benches.
        value: the number.
        unit: of the number; empty for a ratio or a count.
        at_most, at_least: the goal, if there is one.
        places: decimal places that mean something.
        note: what a reader needs to judge it.
    """

    name: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None
    places: int = 2
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None: there is none."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least

    @property
    def shown(self) -> str:
        """The number with its unit."""
        return self._with_unit(self.value)

    @property
    def goal(self) -> str:
        """The goal and whether it is met."""
        if self.at_most is not None:
            text = f"at most {self._with_unit(self.at_most)}"
        elif self.at_least is not None:
            text = f"at least {self._with_unit(self.at_least)}"
        else:
            return ""
        return text if self.met else f"{text}: **short of it**"

    def _with_unit(self, value: float) -> str:
        return f"{value:,.{self.places}f} {self.unit}".rstrip()


def table(figures: Iterable[Figure]) -> str:
    """Rows of a Markdown table, as ``docs/figures.md`` holds them."""
    rows = [HEAD, tuple("---" for _ in HEAD)]
    for figure in figures:
        name = f"{figure.name} ({figure.note})" if figure.note else figure.name
        rows.append((name, figure.shown, figure.goal))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
