"""JSON Patch operations and JSON pointers as values (RFC 6902, RFC 6901).

The API server applies all operations of a patch or none, so a ``test`` in front is a precondition
of everything behind it. ``test`` with the value None also holds where the member is absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

JsonObject = Mapping[str, Any]
"""A decoded JSON object, as it came from the API server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonOp:
    """One operation.

    Attributes:
        op: what to do.
        path: JSON pointer.
        value: operand of ``test``, ``add`` and ``replace``; meaningless for ``remove``.
    """

    op: Literal["test", "add", "replace", "remove"]
    path: str
    value: Any = None


def test(path: str, value: Any) -> JsonOp:
    """The patch only applies while ``path`` holds ``value``."""
    return JsonOp(op="test", path=path, value=value)


def add(path: str, value: Any) -> JsonOp:
    """Set a member, whether it is there or not; its parent must exist."""
    return JsonOp(op="add", path=path, value=value)


def replace(path: str, value: Any) -> JsonOp:
    """Set a member that exists."""
    return JsonOp(op="replace", path=path, value=value)


def remove(path: str) -> JsonOp:
    """Remove a member that exists."""
    return JsonOp(op="remove", path=path)


def pointer(*tokens: str | int) -> str:
    """JSON pointer of a path of member names and list indices, escaped."""
    return "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in tokens)


def tokens_of(path: str) -> tuple[str, ...]:
    """Inverse of :func:`pointer`; every token comes back as a string."""
    return tuple(t.replace("~1", "/").replace("~0", "~") for t in path.split("/")[1:])


class Absent:
    """The type of :data:`ABSENT`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()
"""What :func:`resolve` returns where nothing stands; distinct from a JSON null."""


def resolve(document: Any, path: str) -> Any:
    """What stands at ``path`` in ``document``, or :data:`ABSENT`."""
    here = document
    for token in tokens_of(path):
        if isinstance(here, Mapping):
            here = here.get(token, ABSENT)
        elif isinstance(here, Sequence) and not isinstance(here, str) and token.isdecimal():
            here = here[int(token)] if int(token) < len(here) else ABSENT
        else:
            return ABSENT
    return here
