"""Service labels lead to every Space that may be meant, and follow the inventory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from metrics.core.traffic_providers import TRAEFIK
from sleeper.control.traffic_index import LabelIndex
from sleeper.core import names
from sleeper.core.objects import (
    Metadata,
    Namespace,
    Service,
    ServicePort,
    ServiceSpec,
    SpaceObjects,
)

LABEL = "team-a-web-80@kubernetes"


class Spaces:
    """An inventory that the test changes."""

    synced = True

    def __init__(self) -> None:
        self.objects: dict[str, SpaceObjects] = {}
        self._listeners: list[Callable[[str], None]] = []

    def put(self, namespace: str, *services: str, tenant: str | None = "t") -> None:
        labels = {} if tenant is None else {names.LABEL_TENANT: tenant}
        self.objects[namespace] = SpaceObjects(
            namespace=Namespace(metadata=Metadata(name=namespace, labels=labels)),
            services=tuple(
                Service(
                    metadata=Metadata(name=name), spec=ServiceSpec(ports=(ServicePort(port=80),))
                )
                for name in services
            ),
        )
        self._tell(namespace)

    def remove(self, namespace: str) -> None:
        del self.objects[namespace]
        self._tell(namespace)

    def namespaces(self) -> Iterable[Namespace]:
        return [objects.namespace for objects in self.objects.values()]

    def space(self, name: str) -> SpaceObjects | None:
        return self.objects.get(name)

    def ingress_classes(self) -> Mapping[str, str]:
        return {}

    def subscribe(self, callback: Callable[[str], None]) -> None:
        self._listeners.append(callback)

    def _tell(self, namespace: str) -> None:
        for listener in self._listeners:
            listener(namespace)


def test_a_label_that_two_spaces_share_means_both() -> None:
    spaces = Spaces()
    spaces.put("team-a", "web")
    spaces.put("team", "a-web", "a")
    index = LabelIndex(TRAEFIK, spaces)
    assert index.meant_by(LABEL) == {"team-a": "web", "team": "a-web"}
    assert index.meant_by("team-a-80@kubernetes") == {"team": "a"}
    assert index.meant_by("nobody@kubernetes") == {}


def test_labels_follow_services_spaces_and_tenant_labels_as_they_come_and_go() -> None:
    spaces = Spaces()
    index = LabelIndex(TRAEFIK, spaces)
    assert index.meant_by(LABEL) == {}
    spaces.put("team-a", "web")
    assert index.meant_by(LABEL) == {"team-a": "web"}
    spaces.put("team-a", "api")
    assert index.meant_by(LABEL) == {}
    assert index.meant_by("team-a-api-80@kubernetes") == {"team-a": "api"}
    spaces.put("team-a", "web", tenant=None)
    assert index.meant_by(LABEL) == {}
    spaces.put("team-a", "web")
    assert index.meant_by(LABEL) == {"team-a": "web"}
    spaces.remove("team-a")
    assert index.meant_by(LABEL) == {}
