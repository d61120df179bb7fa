"""From a service label in the ingress's metrics back to the Spaces that may be meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from metrics.core.traffic_providers import Provider
from sleeper.core.carriers import traffic_labels
from sleeper.core.objects import Namespace, SpaceObjects
from sleeper.core.space import tenant_of


class Spaces(Protocol):
    """What the traffic signal reads of the inventory."""

    @property
    def synced(self) -> bool:
        """Every kind has been listed and its watch lives."""
        ...

    def namespaces(self) -> Iterable[Namespace]:
        """All namespaces."""
        ...

    def space(self, name: str) -> SpaceObjects | None:
        """All objects of a namespace, or None if there is no such namespace."""
        ...

    def ingress_classes(self) -> Mapping[str, str]:
        """Controller by name of the IngressClass; the default class under ""."""
        ...

    def subscribe(self, callback: Callable[[str], None]) -> None:
        """Be told the name of a namespace in which something changed."""
        ...


class LabelIndex:
    """Service labels of all Spaces, kept up to date with the inventory.

    A change only marks the namespace; its labels are rebuilt when somebody looks next, so a burst
    of changes costs nothing.
    """

    def __init__(self, provider: Provider, spaces: Spaces) -> None:
        self._provider = provider
        self._spaces = spaces
        self._labels: dict[str, dict[str, str]] = {}
        self._meant: dict[str, dict[str, str]] = {}
        self._stale = {namespace.metadata.name for namespace in spaces.namespaces()}
        spaces.subscribe(self._stale.add)

    def meant_by(self, label: str) -> Mapping[str, str]:
        """Name of each Space that the label may mean → its Service."""
        self._rebuild()
        return self._meant.get(label, {})

    def _rebuild(self) -> None:
        while self._stale:
            name = self._stale.pop()
            for label in self._labels.pop(name, {}):
                del self._meant[label][name]
                if not self._meant[label]:
                    del self._meant[label]
            objects = self._spaces.space(name)
            if objects is None or tenant_of(objects.namespace) is None:
                continue
            self._labels[name] = traffic_labels(self._provider, objects)
            for label, service in self._labels[name].items():
                self._meant.setdefault(label, {})[name] = service
