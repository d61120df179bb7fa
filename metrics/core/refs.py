"""Identities that measurements carry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceRef:
    """One namespace we manage.

    Attributes:
        uid: ``metadata.uid`` of the namespace; the key of everything stored, because names recur.
        name: the namespace's name.
        tenant: value of the tenant label; who pays.
    """

    uid: str
    name: str
    tenant: str
