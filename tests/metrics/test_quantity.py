"""Quantities are read as the API server reads them."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.core.quantity import MAX_VALUE, cpu_millis, memory_bytes, parse
from metrics.errors import QuantityError


@pytest.mark.parametrize(
    ("text", "millis"),
    [
        ("0", 0),
        ("1", 1000),
        ("250m", 250),
        ("0.1", 100),
        (".5", 500),
        ("2.", 2000),
        ("+1", 1000),
        ("1.5", 1500),
        ("1e3", 1_000_000),
        ("1E3", 1_000_000),
        ("5e-1", 500),
        ("2E", MAX_VALUE),  # 2 exa-cores: the suffix, not an exponent
        ("100n", 1),  # rounded up to the unit
        ("1u", 1),
        ("0.1m", 1),
        ("1k", 1_000_000),
        (2, 2000),
        (0.25, 250),
    ],
)
def test_cpu_is_counted_in_millicores_rounded_up(text: str | float, millis: int) -> None:
    assert cpu_millis(text) == millis


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("128Mi", 128 * 2**20),
        ("1.5Gi", 3 * 2**29),
        ("1G", 10**9),
        ("1M", 10**6),
        ("1Ki", 1024),
        ("1Ti", 2**40),
        ("1Pi", 2**50),
        ("7Ei", 7 * 2**60),
        ("8Ei", MAX_VALUE),
        ("100m", 1),  # a slip for 100Mi that the API server admits
        ("1e999999999", MAX_VALUE),
        ("1e-999999999", 1),
        (4096, 4096),
    ],
)
def test_memory_is_counted_in_bytes_rounded_up(text: str | float, count: int) -> None:
    assert memory_bytes(text) == count


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 Gi",
        "Gi",
        "-1",
        "1gi",
        "1K",
        "1KiB",
        "0x10",
        "1e",
        "1.2.3",
        "NaN",
        "١",
        "1\n",
        "9" * 65,
    ],
)
def test_anything_else_is_refused_and_named(text: str) -> None:
    with pytest.raises(QuantityError, match="quantity"):
        parse(text)


@settings(deadline=None)
@given(st.integers(0, 10**12), st.sampled_from(["", "m", "k", "Ki", "Mi", "n", "e2"]))
def test_rounding_never_loses_and_adds_less_than_one_unit(number: int, suffix: str) -> None:
    value = parse(f"{number}{suffix}")
    assert isinstance(value, Fraction)
    assert memory_bytes(f"{number}{suffix}") == min(MAX_VALUE, math.ceil(value))
    assert cpu_millis(f"{number}{suffix}") == min(MAX_VALUE, math.ceil(value * 1000))


@settings(deadline=None)
@given(st.text(max_size=70))
def test_no_text_makes_it_fail_in_another_way(text: str) -> None:
    try:
        value = memory_bytes(text)
    except QuantityError:
        return
    assert 0 <= value <= MAX_VALUE
