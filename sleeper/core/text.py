"""Words for people, however much there is to say: Events and log lines are short. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

LONGEST_SHOWN: Final = 80
"""Characters of somebody else's text that are quoted: owners know theirs."""

MOST_NAMED: Final = 5
"""Things of one kind that are named in a sentence."""


def shortened(text: str, longest: int = LONGEST_SHOWN) -> str:
    """A text of somebody else's, cut where it is long."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def some(named: Sequence[str], between: str = ", ") -> str:
    """The first few of these, and how many more there are."""
    more = len(named) - MOST_NAMED
    return between.join((*named[:MOST_NAMED], *([f"{more} more"] if more > 0 else ())))
