"""Data of databases that goes with its Pod: found before a sleep would stop the Pod. Pure.

A database's data directory must lie on a volume that outlives the Pod: on one that is mounted there
or at a parent, and no volume of the Pod's own may be mounted inside it or in between: containerd
mounts one where the image declares it and nobody else mounts at that very place. Which images are
databases, and where they keep their data, says :mod:`sleeper.core.databases`. An ``emptyDir`` where
databases keep their data tells one whatever its image is called.

A ``hostPath`` stays, but on its node: a Pod that could come back on another one would find nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from posixpath import normpath
from typing import Final

from sleeper.core.databases import TELLING, Database, database_of
from sleeper.core.pods import Container, Fate, Volume
from sleeper.core.text import shortened, some

HOSTNAME: Final = "kubernetes.io/hostname"
"""Node selector that brings a Pod back to its node."""

LONGEST_HELD_BY: Final = 300
"""Characters of what holds data that are kept."""

_SOMEWHERE: Final = "its data directory"
_LAYER: Final = "the container's own layer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Perishable:
    """Data that goes with its Pod.

    Attributes:
        container: name of the container.
        image: its image.
        directory: where its data is.
        held_by: what holds it, as a noun phrase.
    """

    container: str
    image: str
    directory: str
    held_by: str


def perishables(
    containers: Iterable[Container],
    init_containers: Iterable[Container],
    volumes: Iterable[Volume],
    node_selector: Mapping[str, str],
) -> tuple[Perishable, ...]:
    """Data of a Pod that is gone once the Pod is, at most one for each container.

    Init containers have ended; those that run beside the others (sidecars) count.
    """
    sidecars = (one for one in init_containers if one.restart_policy == "Always")
    fates = {volume.name: volume.fate for volume in volumes}
    if node_selector.get(HOSTNAME):
        fates = {name: Fate.STAYS if fate is Fate.NODE else fate for name, fate in fates.items()}
    return tuple(
        found
        for container in (*containers, *sidecars)
        if (found := _perishable(container, fates)) is not None
    )


@dataclass(frozen=True, slots=True)
class _Mount:
    path: str
    volume: str
    fate: Fate

    @property
    def held_by(self) -> str:
        """The volume as a noun phrase."""
        match self.fate:
            case Fate.EMPTY_DIR:
                return f"the emptyDir {self.volume!r}"
            case Fate.GOES if not self.volume:
                return "a volume that the image declares there, as nothing is mounted at that place"
            case Fate.NODE:
                return f"the hostPath {self.volume!r} of a node that the Pod is not bound to"
            case _:
                return f"the volume {self.volume!r}, which goes with the Pod"


def _perishable(container: Container, fates: Mapping[str, Fate]) -> Perishable | None:
    mounts = tuple(
        _Mount(normpath(mount.mount_path), mount.name, fates[mount.name])
        for mount in container.volume_mounts or ()
        if mount.name in fates
    )
    database = database_of(container.image)
    found = (
        _told_by_mount(mounts) if database is None else _told_by_image(container, database, mounts)
    )
    if found is None:
        return None
    directory, held_by = found
    return Perishable(
        container=container.name,
        image=shortened(container.image),
        directory=shortened(directory),
        held_by=shortened(held_by, LONGEST_HELD_BY),
    )


def _told_by_mount(mounts: tuple[_Mount, ...]) -> tuple[str, str] | None:
    """An ``emptyDir`` where databases keep their data."""
    for mount in mounts:
        told = TELLING.get(mount.path, ()) if mount.fate is Fate.EMPTY_DIR else ()
        if told and all(_holder(directory, mounts) is mount for directory in told):
            return mount.path, mount.held_by
    return None


def _told_by_image(
    container: Container, database: Database, mounts: tuple[_Mount, ...]
) -> tuple[str, str] | None:
    line = " ".join((*(container.command or ()), *(container.args or ())))
    if database.only_with and not any(_has(line, word) for word in database.only_with):
        return None
    if any(_has(line, word) for word in database.never_with):
        return None
    mounts += tuple(
        _Mount(path, "", Fate.GOES)
        for path in database.declared
        if (above := _holder(path, mounts)) is not None
        and above.fate is Fate.STAYS
        and above.path != path
    )
    moved = tuple(_moved(container, database, line))
    known = [normpath(path) for path in moved if path.startswith("/") and "$" not in path]
    if len(known) < len(moved) or (database.anywhere and not moved):
        # Where it is cannot be read. With nothing that outlives the Pod it is lost for sure.
        if any(mount.fate is Fate.STAYS for mount in mounts):
            return None
        held_by = some([mount.held_by for mount in mounts]) or _LAYER
        return _SOMEWHERE, held_by
    lost = [(path, by) for path in known or database.directories if (by := _lost(path, mounts))]
    all_used = bool(known) or database.all_used
    if not lost or (not all_used and len(lost) < len(database.directories)):
        return None
    # The one that is mounted from somewhere is the one that is used.
    return next((one for one in lost if one[1] != _LAYER), lost[0])


def _lost(directory: str, mounts: tuple[_Mount, ...]) -> str | None:
    """What holds a directory, or a part of it, and goes with the Pod; None: all of it stays."""
    holder = _holder(directory, mounts)
    if holder is None:
        return _LAYER
    if holder.fate is not Fate.STAYS:
        return holder.held_by
    for mount in mounts:
        if mount.fate is not Fate.STAYS and mount.path.startswith(f"{directory}/"):
            return f"{mount.held_by} at {mount.path}"
    return None


def _holder(directory: str, mounts: tuple[_Mount, ...]) -> _Mount | None:
    """The mount that a directory lies on: the deepest at it or above it."""
    above = [m for m in mounts if f"{directory}/".startswith(f"{m.path.rstrip('/')}/")]
    return max(above, key=lambda mount: len(mount.path), default=None)


def _moved(container: Container, database: Database, line: str) -> Iterator[str]:
    """Where environment and command line say that the data is; "" where that cannot be read."""
    for one in container.env or ():
        if one.name not in database.variables:
            continue
        yield from (place.strip() for place in (one.value or "").split(","))
    for flag in database.flags:
        for value in re.findall(rf"(?:^|\s){re.escape(flag)}(?:=|\s+)(\S+)", line):
            yield value.strip("'\"").removeprefix("path=").partition(",")[0]


def _has(line: str, word: str) -> bool:
    return re.search(rf"(?:^|\s){re.escape(word)}(?:$|[\s=])", line) is not None
