"""What owners wrote in annotations, read once for each version of the object that it stands on.

A Space is looked at with every change of any of its objects, and annotations change seldom; who
may edit an object can make them long and many. What is kept here is short, and goes with what it
stands on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sleeper.core.names import Target
from sleeper.core.objects import KubeObject, Namespace, SpaceObjects
from sleeper.core.policy import (
    PolicyDefaults,
    PolicyNote,
    PolicyReading,
    labels_in_vain,
    read_policy,
)
from sleeper.core.workload_warnings import warnings_on, workload_warnings

_FEW: Final = 16
"""So few annotations and labels are looked at again as cheaply as what was found is looked up."""

_Version = tuple[str, str]


class Readings:
    """Reads policies and warnings, and remembers them by uid and ``resourceVersion``.

    Args:
        defaults: what holds for a Space that says nothing itself.
    """

    def __init__(self, defaults: PolicyDefaults) -> None:
        self._defaults = defaults
        self._policies: dict[str, tuple[_Version, dict[bool, PolicyReading]]] = {}
        self._warnings: dict[str, dict[_Version, tuple[PolicyNote, ...]]] = {}

    def policy(self, namespace: Namespace, *, has_routes: bool) -> PolicyReading:
        """The policy that the namespace's annotations make."""
        version = _version(namespace)
        seen, readings = self._policies.get(namespace.metadata.name, (None, {}))
        if seen != version:
            readings = {}
            if version is not None:
                self._policies[namespace.metadata.name] = version, readings
        if has_routes not in readings:
            meta = namespace.metadata
            reading = read_policy(meta.annotations or {}, self._defaults, has_routes=has_routes)
            if labels := labels_in_vain(meta.labels, meta.annotations, Target.NAMESPACE):
                reading = replace(reading, warnings=(*reading.warnings, *labels))
            readings[has_routes] = reading
        return readings[has_routes]

    def on_workloads(self, objects: SpaceObjects) -> tuple[PolicyNote, ...]:
        """Notes on what stands on the Space's workloads in vain."""
        before = self._warnings.get(objects.namespace.metadata.name, {})
        present: dict[_Version, tuple[PolicyNote, ...]] = {}

        def read(obj: KubeObject) -> tuple[PolicyNote, ...]:
            written = len(obj.metadata.annotations or ()) + len(obj.metadata.labels or ())
            if not written:
                return ()
            version = _version(obj)
            found = before.get(version) if version is not None else None
            if found is None:
                found = warnings_on(obj)
            if version is not None and (found or written > _FEW):
                present[version] = found
            return found

        notes = workload_warnings(objects, read)
        if present:
            self._warnings[objects.namespace.metadata.name] = present
        else:
            self._warnings.pop(objects.namespace.metadata.name, None)
        return notes

    def forget(self, name: str) -> None:
        """The namespace is gone, or no Space any more."""
        self._policies.pop(name, None)
        self._warnings.pop(name, None)


def _version(obj: KubeObject) -> _Version | None:
    """What the object's annotations are the same as long as it is the same; None: not known."""
    meta = obj.metadata
    return (meta.uid, meta.resource_version) if meta.uid and meta.resource_version else None
