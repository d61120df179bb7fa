"""A share of the deaths at every write; ``make siege`` goes through all of them."""

from __future__ import annotations

import asyncio
from itertools import islice

from tests.siege.dying import cases, live_through


def test_whoever_dies_and_whatever_is_said_then_the_owners_word_holds() -> None:
    wrong = {
        str(case): found
        for case in islice(cases(), 0, None, 53)
        if (found := asyncio.run(live_through(case)))
    }
    assert wrong == {}
