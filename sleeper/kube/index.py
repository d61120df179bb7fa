"""Objects by namespace, with an immutable view of each Space that is built once per change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

from sleeper.core.objects import IngressClass, KubeObject, Namespace, Pod, SpaceObjects
from sleeper.kube.podchange import PodChange

DEFAULT_CLASS_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"

ObjectT = TypeVar("ObjectT", bound=KubeObject)


class NamespaceIndex:
    """All followed objects of all namespaces.

    Args:
        changed: told the name of each namespace in which something changed.
    """

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._namespaces: dict[str, Namespace] = {}
        self._names_by_uid: dict[str, str] = {}
        # namespace → source → object name → object; a source is one store below
        self._objects: dict[str, dict[str, dict[str, KubeObject]]] = {}
        self._fields: dict[str, str] = {}
        self._views: dict[str, SpaceObjects] = {}

    def namespaces(self) -> Iterable[Namespace]:
        """All namespaces, in no particular order."""
        return self._namespaces.values()

    def by_uid(self, uid: str) -> Namespace | None:
        """The namespace with this uid."""
        name = self._names_by_uid.get(uid)
        return None if name is None else self._namespaces.get(name)

    def space(self, name: str) -> SpaceObjects | None:
        """All objects of a namespace at this moment, sorted by name; None without namespace."""
        view = self._views.get(name)
        if view is None:
            namespace = self._namespaces.get(name)
            if namespace is None:
                return None
            view = self._views[name] = self._build(namespace)
        return view

    def _build(self, namespace: Namespace) -> SpaceObjects:
        fields: dict[str, Any] = {}
        for source, by_name in self._objects.get(namespace.metadata.name, {}).items():
            field = self._fields[source]
            ordered = tuple(by_name[name] for name in sorted(by_name))
            fields[field] = fields.get(field, ()) + ordered
        return SpaceObjects(namespace=namespace, **fields)

    def set_namespace(self, namespace: Namespace) -> None:
        """A namespace was added or changed."""
        name = namespace.metadata.name
        before = self._namespaces.get(name)
        if before is not None:
            self._names_by_uid.pop(before.metadata.uid, None)
        self._namespaces[name] = namespace
        self._names_by_uid[namespace.metadata.uid] = name
        self.touch(name)

    def drop_namespace(self, name: str) -> None:
        """A namespace is gone."""
        before = self._namespaces.pop(name, None)
        if before is not None:
            self._names_by_uid.pop(before.metadata.uid, None)
            self.touch(name)

    def namespace(self, name: str) -> Namespace | None:
        """The namespace with this name."""
        return self._namespaces.get(name)

    def declare(self, source: str, field: str) -> None:
        """Objects of ``source`` go to ``field`` of :class:`SpaceObjects`."""
        self._fields[source] = field

    def set_object(self, source: str, item: KubeObject) -> KubeObject | None:
        """An object was added or changed; what it was before."""
        meta = item.metadata
        by_name = self._objects.setdefault(meta.namespace, {}).setdefault(source, {})
        before = by_name.get(meta.name)
        by_name[meta.name] = item
        self.touch(meta.namespace)
        return before

    def drop_object(self, source: str, item: KubeObject) -> KubeObject | None:
        """An object is gone; what it was before, or None if it was not known."""
        meta = item.metadata
        sources = self._objects.get(meta.namespace, {})
        by_name = sources.get(source, {})
        before = by_name.pop(meta.name, None)
        if before is None:
            return None
        if not by_name:
            del sources[source]
        if not sources:
            del self._objects[meta.namespace]
        self.touch(meta.namespace)
        return before

    def has_object(self, source: str, namespace: str, name: str) -> bool:
        """Whether the object is known."""
        return name in self._objects.get(namespace, {}).get(source, {})

    def all_objects(self, source: str) -> list[KubeObject]:
        """Every object of one source."""
        return [
            item for sources in self._objects.values() for item in sources.get(source, {}).values()
        ]

    def touch(self, name: str) -> None:
        """Forget the view of a namespace and tell that it changed."""
        self._views.pop(name, None)
        self._changed(name)


class NamespaceStore:
    """Follows the namespaces themselves."""

    def __init__(self, index: NamespaceIndex) -> None:
        self._index = index

    def replace(self, objects: Sequence[Namespace], at: datetime) -> None:
        """These are all namespaces."""
        present = {namespace.metadata.name for namespace in objects}
        for name in [n.metadata.name for n in self._index.namespaces()]:
            if name not in present:
                self._index.drop_namespace(name)
        for namespace in objects:
            self.put(namespace, at)

    def put(self, item: Namespace, _at: datetime) -> None:
        """A namespace was added or changed."""
        known = self._index.namespace(item.metadata.name)
        if known is None or not same_version(known, item):
            self._index.set_namespace(item)

    def discard(self, item: Namespace, _at: datetime) -> None:
        """A namespace is gone."""
        self._index.drop_namespace(item.metadata.name)


class ObjectStore(Generic[ObjectT]):
    """Follows one namespaced kind.

    Args:
        index: where the objects go.
        source: name of this store in the index.
        field: the field of :class:`SpaceObjects` they belong to.
    """

    def __init__(self, index: NamespaceIndex, *, source: str, field: str) -> None:
        self._index = index
        self._source = source
        index.declare(source, field)

    def replace(self, objects: Sequence[ObjectT], at: datetime) -> None:
        """These are all objects of the kind; only differences count as changes."""
        present = {(item.metadata.namespace, item.metadata.name) for item in objects}
        known = {
            (item.metadata.namespace, item.metadata.name): item
            for item in self._index.all_objects(self._source)
        }
        for key, item in known.items():
            if key not in present:
                self._index.drop_object(self._source, item)
                self._report(item, None, at, relisted=True)
        for item in objects:
            old = known.get((item.metadata.namespace, item.metadata.name))
            if old is None or not same_version(old, item):
                self._index.set_object(self._source, item)
                self._report(old, item, at, relisted=True)

    def put(self, item: ObjectT, at: datetime) -> None:
        """An object was added or changed."""
        before = self._index.set_object(self._source, item)
        self._report(before, item, at, relisted=False)

    def discard(self, item: ObjectT, at: datetime) -> None:
        """An object is gone."""
        before = self._index.drop_object(self._source, item)
        if before is not None:
            same = before.metadata.uid == item.metadata.uid
            self._report(item if same else before, None, at, relisted=not same)

    def _report(
        self,
        old: KubeObject | None,
        new: KubeObject | None,
        at: datetime,
        *,
        relisted: bool,
    ) -> None:
        """Told of every change; most kinds have nobody who wants to know more."""


class PodStore(ObjectStore[Pod]):
    """Follows the Pods and tells each change to those who meter them.

    Args:
        index: where the Pods go.
        source: name of this store in the index.
        listener: told of each change of one Pod.
        seen_until: last proof of life of the Pod watch.
    """

    def __init__(
        self,
        index: NamespaceIndex,
        *,
        source: str,
        listener: Callable[[PodChange], None],
        seen_until: Callable[[], datetime | None],
    ) -> None:
        super().__init__(index, source=source, field="pods")
        self._listener = listener
        self._seen_until = seen_until

    def _report(
        self,
        old: KubeObject | None,
        new: KubeObject | None,
        at: datetime,
        *,
        relisted: bool,
    ) -> None:
        assert old is None or isinstance(old, Pod)
        assert new is None or isinstance(new, Pod)
        seen_until = self._seen_until()
        if old is not None and new is not None and old.metadata.uid != new.metadata.uid:
            # the name was taken again; its end was not seen, so it counts as found by listing
            self._listener(
                PodChange(old=old, new=None, at=at, relisted=True, seen_until=seen_until)
            )
            old = None
        self._listener(PodChange(old=old, new=new, at=at, relisted=relisted, seen_until=seen_until))


class IngressClassStore:
    """Follows the IngressClasses: name → controller, the default class under ``""``."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._classes: dict[str, IngressClass] = {}
        self.controllers: dict[str, str] = {}

    def replace(self, objects: Sequence[IngressClass], _at: datetime) -> None:
        """These are all classes."""
        self._classes = {item.metadata.name: item for item in objects}
        self._refresh()

    def put(self, item: IngressClass, _at: datetime) -> None:
        """A class was added or changed."""
        self._classes[item.metadata.name] = item
        self._refresh()

    def discard(self, item: IngressClass, _at: datetime) -> None:
        """A class is gone."""
        self._classes.pop(item.metadata.name, None)
        self._refresh()

    def _refresh(self) -> None:
        controllers = {name: item.spec.controller for name, item in self._classes.items()}
        defaults = [
            item
            for item in self._classes.values()
            if item.metadata.annotation(DEFAULT_CLASS_ANNOTATION) == "true"
        ]
        if defaults:
            # with several, the API server gives an Ingress the one that was created last
            newest = max(
                defaults,
                key=lambda item: (item.metadata.creation_timestamp or "", item.metadata.name),
            )
            controllers[""] = newest.spec.controller
        if controllers != self.controllers:
            self.controllers = controllers
            self._changed()


def same_version(one: KubeObject, other: KubeObject) -> bool:
    """Whether two states of an object are one and the same."""
    return (
        one.metadata.uid == other.metadata.uid
        and one.metadata.resource_version == other.metadata.resource_version
    )
