"""What makes a namespace a Space: a tenant label that names who pays. Pure.

Everything that asks whether a namespace is a Space asks here: decisions, signals, metering, the
read API and the commands. A label that is there and names nobody is a mistake of its owner, who
meant a Space: it is told, and until it is mended the namespace is none.
"""

from __future__ import annotations

import re
from typing import Final

from sleeper.core.names import LABEL_TENANT, TENANT_FORM
from sleeper.core.objects import Namespace
from sleeper.core.policy import PolicyNote

_TENANT: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def tenant_label(namespace: Namespace) -> str | None:
    """What stands in the tenant label, legal or not; None: there is none."""
    return namespace.metadata.label(LABEL_TENANT)


def tenant_of(namespace: Namespace) -> str | None:
    """Who pays for the Space; None: the namespace is no Space."""
    label = tenant_label(namespace)
    return label if label is not None and _TENANT.fullmatch(label) else None


def misnamed(namespace: Namespace) -> PolicyNote | None:
    """The note about a tenant label that is there and cannot be read, or None."""
    label = tenant_label(namespace)
    if label is None or tenant_of(namespace) is not None:
        return None
    return PolicyNote(
        key=LABEL_TENANT, value=label, advice=f"cannot be read; expected {TENANT_FORM}"
    )


def no_space_because(namespace: Namespace) -> str | None:
    """Why the namespace is no Space, as half a sentence; None: it is one."""
    if tenant_of(namespace) is not None:
        return None
    note = misnamed(namespace)
    return f"it lacks the label {LABEL_TENANT}=<tenant>" if note is None else f"its label {note}"
