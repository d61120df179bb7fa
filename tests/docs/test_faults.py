"""Every fault that is mended has tests that show it, and those carry its number."""

from __future__ import annotations

import tomllib

from tests.docs.test_reference import GENERATOR

NUMBERS = {fault["number"] for fault in tomllib.loads(GENERATOR.FAULTS.read_text())["fault"]}
ON_THE_REAL_THING = {*range(1, 10), 21}
"""Faults that lost something: a test on the real controllers shows each of them."""


def test_every_fault_has_a_test_and_every_mark_a_fault() -> None:
    assert set(GENERATOR.marked_tests()) == NUMBERS


def test_what_lost_something_is_shown_on_the_real_controllers() -> None:
    shown = GENERATOR.marked_tests()
    elsewhere = {
        number
        for number in ON_THE_REAL_THING
        if not any(test.startswith("tests/cluster/") for test in shown[number])
    }
    assert elsewhere == set()
