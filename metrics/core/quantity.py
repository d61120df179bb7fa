"""Kubernetes quantities, exactly.

The grammar is that of ``k8s.io/apimachinery/pkg/api/resource``: a decimal number followed by a
binary suffix (``Ki`` … ``Ei``), a decimal one (``n`` … ``E``) or a decimal exponent (``e3``).
As there, a value is rounded up to the unit that is asked for and capped at 2⁶³ − 1. Negative
quantities are refused: nothing that we measure can be below zero.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import Final

from metrics.errors import QuantityError

MAX_VALUE: Final = 2**63 - 1
"""The API server caps quantities here, so a row always fits a 64-bit column."""

_MAX_LENGTH: Final = 64
_MAX_EXPONENT: Final = 30

_QUANTITY: Final = re.compile(
    r"\+?(?P<number>[0-9]+\.?[0-9]*|\.[0-9]+)"
    r"(?:(?P<suffix>[KMGTPE]i|[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]{1,9}))?"
)

_SCALE: Final = {
    **{prefix + "i": Fraction(1024**n) for n, prefix in enumerate("KMGTPE", start=1)},
    **{prefix: Fraction(1000**n) for n, prefix in enumerate("kMGTPE", start=1)},
    **{prefix: Fraction(1, 1000**n) for n, prefix in enumerate("mun", start=1)},
}


@lru_cache(maxsize=4096)
def parse(text: str) -> Fraction:
    """The exact value of a quantity in its base unit (cores, bytes).

    Raises:
        QuantityError: it does not follow the grammar, is negative or is absurdly long.
    """
    match = _QUANTITY.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if match is None:
        raise QuantityError(text)
    value = Fraction(match["number"].rstrip("."))
    if match["suffix"] is not None:
        value *= _SCALE[match["suffix"]]
    elif match["exponent"] is not None:
        # Beyond ±30 the outcome is the cap or the smallest unit anyway; 10**999999999 is a trap.
        exponent = max(-_MAX_EXPONENT, min(_MAX_EXPONENT, int(match["exponent"])))
        value *= Fraction(10) ** exponent
    return value


def cpu_millis(quantity: str | float) -> int:
    """A CPU quantity in milli-cores, rounded up."""
    return _ceil(parse(str(quantity)) * 1000)


def memory_bytes(quantity: str | float) -> int:
    """A memory quantity in bytes, rounded up."""
    return _ceil(parse(str(quantity)))


def _ceil(value: Fraction) -> int:
    return min(MAX_VALUE, -(-value.numerator // value.denominator))
