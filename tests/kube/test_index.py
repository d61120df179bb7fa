"""Objects by namespace: views are immutable and current, news about Pods is complete."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sleeper.core.objects import Deployment, IngressClass, Metadata, Namespace, Pod
from sleeper.kube.index import (
    DEFAULT_CLASS_ANNOTATION,
    IngressClassStore,
    NamespaceIndex,
    NamespaceStore,
    ObjectStore,
    PodStore,
)
from sleeper.kube.podchange import PodChange

T0 = datetime(2026, 11, 21, tzinfo=UTC)
SEEN = T0 - timedelta(seconds=7)


def pod(name: str, version: int, *, uid: str | None = None, namespace: str = "a") -> Pod:
    return Pod(
        metadata=Metadata(
            name=name, namespace=namespace, uid=uid or f"uid-{name}", resource_version=str(version)
        )
    )


def space(name: str, *, uid: str | None = None, version: int = 1) -> Namespace:
    meta = Metadata(name=name, uid=uid or f"uid-{name}", resource_version=str(version))
    return Namespace(metadata=meta)


def told(change: PodChange) -> Pod:
    """The Pod of a change, in its latest state."""
    pod = change.new or change.old
    assert pod is not None
    return pod


class World:
    """An index with namespace ``a``, its Pods and Deployments."""

    def __init__(self) -> None:
        self.changed: list[str] = []
        self.news: list[PodChange] = []
        self.index = NamespaceIndex(self.changed.append)
        self.namespaces = NamespaceStore(self.index)
        self.pods = PodStore(
            self.index, source="pods", listener=self.news.append, seen_until=lambda: SEEN
        )
        self.deployments: ObjectStore[Deployment] = ObjectStore(
            self.index, source="deployments", field="deployments"
        )
        self.namespaces.replace([space("a")], T0)
        self.changed.clear()

    def names(self) -> list[str]:
        view = self.index.space("a")
        assert view is not None
        return [item.metadata.name for item in view.pods]


def test_a_view_stays_the_same_value_until_something_changes() -> None:
    world = World()
    world.pods.put(pod("x", 1), T0)
    view = world.index.space("a")
    assert world.index.space("a") is view
    world.pods.put(pod("x", 2), T0)
    later = world.index.space("a")
    assert view is not None
    assert later is not None
    assert view.pods[0].metadata.resource_version == "1"
    assert later.pods[0].metadata.resource_version == "2"


def test_objects_that_arrive_before_their_namespace_wait_for_it() -> None:
    world = World()
    world.pods.put(pod("x", 1, namespace="b"), T0)
    assert world.index.space("b") is None
    world.namespaces.put(space("b"), T0)
    view = world.index.space("b")
    assert view is not None
    assert len(view.pods) == 1


def test_a_namespace_that_was_made_again_is_found_by_its_new_uid_only() -> None:
    world = World()
    world.namespaces.put(space("a", uid="second", version=9), T0)
    assert world.index.by_uid("uid-a") is None
    found = world.index.by_uid("second")
    assert found is not None
    assert found.metadata.name == "a"
    world.namespaces.replace([], T0)
    assert world.index.by_uid("second") is None
    assert world.index.space("a") is None


def test_a_new_list_tells_only_what_differs() -> None:
    world = World()
    for name in ("stays", "changes", "goes"):
        world.pods.put(pod(name, 1), T0)
    world.news.clear()
    world.changed.clear()
    world.pods.replace([pod("stays", 1), pod("changes", 2), pod("comes", 3)], T0)
    differences = {
        (told(change).metadata.name, change.old is None, change.new is None)
        for change in world.news
    }
    assert differences == {("goes", False, True), ("changes", False, False), ("comes", True, False)}
    assert all(change.relisted and change.seen_until == SEEN for change in world.news)
    assert len(world.changed) == 3


def test_a_pod_name_taken_by_another_pod_is_an_end_and_a_beginning() -> None:
    world = World()
    world.pods.put(pod("x", 1, uid="first"), T0)
    world.news.clear()
    world.pods.put(pod("x", 2, uid="second"), T0)
    end, beginning = world.news
    assert end.new is None
    assert told(end).metadata.uid == "first"
    assert end.relisted
    assert beginning.old is None
    assert beginning.new is not None
    assert beginning.new.metadata.uid == "second"
    assert not beginning.relisted


def test_the_last_state_of_a_deleted_pod_is_told() -> None:
    world = World()
    world.pods.put(pod("x", 1), T0)
    world.pods.discard(pod("x", 5), T0)
    assert told(world.news[-1]).metadata.resource_version == "5"
    assert world.names() == []


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["put", "discard", "replace"]), st.sets(st.integers(0, 5))),
    max_size=30,
)


@given(OPERATIONS)
def test_whatever_happens_the_view_and_the_news_agree_with_the_cluster(operations: Any) -> None:
    world = World()
    truth: dict[str, int] = {}
    for version, (operation, numbers) in enumerate(operations):
        names = [f"p{number}" for number in sorted(numbers)]
        if operation == "replace":
            truth = {name: truth.get(name, version) for name in names}
            world.pods.replace([pod(name, truth[name]) for name in names], T0)
        for name in names:
            if operation == "put":
                truth[name] = version
                world.pods.put(pod(name, version), T0)
            elif operation == "discard" and name in truth:
                world.pods.discard(pod(name, truth.pop(name)), T0)
    alive: set[str] = set()
    for change in world.news:
        uid = told(change).metadata.uid
        assert (change.old is not None) == (uid in alive)
        (alive.discard if change.new is None else alive.add)(uid)
    assert world.names() == sorted(truth)
    assert alive == {f"uid-{name}" for name in truth}


def test_the_youngest_of_several_default_classes_counts() -> None:
    told: list[None] = []
    store = IngressClassStore(lambda: told.append(None))

    def klass(name: str, created: str, *, default: bool) -> IngressClass:
        return msgspec.convert(
            {
                "metadata": {
                    "name": name,
                    "creationTimestamp": created,
                    "annotations": {DEFAULT_CLASS_ANNOTATION: str(default).lower()},
                },
                "spec": {"controller": f"example.com/{name}"},
            },
            IngressClass,
        )

    store.replace([klass("old", "2026-01-01T00:00:00Z", default=True)], T0)
    store.put(klass("new", "2026-02-01T00:00:00Z", default=True), T0)
    store.put(klass("plain", "2026-03-01T00:00:00Z", default=False), T0)
    assert store.controllers[""] == "example.com/new"
    assert store.controllers["plain"] == "example.com/plain"
    before = len(told)
    store.put(klass("plain", "2026-03-01T00:00:00Z", default=False), T0)
    assert len(told) == before


def test_a_pod_is_known_by_its_name_as_long_as_it_is_there() -> None:
    world = World()
    world.pods.put(pod("x", 1), T0)
    assert world.index.has_object("pods", "a", "x")
    assert not world.index.has_object("pods", "a", "y")
    assert not world.index.has_object("pods", "b", "x")
    world.pods.discard(pod("x", 1), T0)
    assert not world.index.has_object("pods", "a", "x")
