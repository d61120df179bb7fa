"""What the owners of a Space do to it, each in several ways, and what they mean by it.

Every write of an owner is conditional on what was read just before, so that the model knows what
the word met. What does not apply just now (the object is gone, say) is skipped.
"""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

from tests.siege.model import (
    GROUP,
    LAST_APPLIED,
    RESTORE,
    Json,
    Key,
    SpaceModel,
    Template,
    Will,
    Word,
    brakes,
    replicas_of,
    restore_of,
    template_of,
    when_scaled_of,
)
from tests.support import manifests
from tests.support.api import Api, ApiError, path_of

RECORDS: Final = "/apis/sleeper.dev/v1alpha1/namespaces/sleeper-system/sleeprecords"
_KINDS: Final = {"Deployment": "deployments", "StatefulSet": "statefulsets"}
_TRIES: Final = 10
_REVISION: Final = "deployment.kubernetes.io/revision"
_NOT_UNDONE: Final = {
    LAST_APPLIED,
    _REVISION,
    "deployment.kubernetes.io/revision-history",
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
}
"""Annotations that an undo leaves as they are, as kubectl has them."""
_BAD: Final = "bad"
_SSA: Final = "application/apply-patch+yaml"
_MERGE: Final = "application/merge-patch+json"
_STRATEGIC: Final = "application/strategic-merge-patch+json"


class NotNowError(Exception):
    """An act that does not apply to what there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Furniture:
    """One workload of a Space as its owner first ships it.

    Attributes:
        shipped: how: ``ssa``, ``csa`` or ``create``.
    """

    kind: str
    name: str
    replicas: int
    shipped: str
    when_scaled: str = "Retain"
    start_after: str = "200ms"
    wave: int = 0

    @property
    def key(self) -> Key:
        """Kind and name."""
        return self.kind, self.name

    def manifest(self) -> Json:
        """The manifest in the owner's repository."""
        spec: Json = {"replicas": self.replicas, "start_after": self.start_after}
        if self.kind == "Deployment":
            made = manifests.deployment(self.name, **spec)
        else:
            made = manifests.stateful_set(
                self.name,
                podManagementPolicy="Parallel",
                updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
                persistentVolumeClaimRetentionPolicy={
                    "whenScaled": self.when_scaled,
                    "whenDeleted": "Retain",
                },
                **spec,
            )
        if self.wave:
            made["metadata"]["annotations"] = {f"{GROUP}wave": str(self.wave)}
        return made


@dataclass(slots=True, kw_only=True)
class Backup:
    """A copy of an object as it was once, and what its owner wanted then."""

    live: Json
    will: Will


@dataclass(slots=True, kw_only=True)
class Owner:
    """The hands of the owners of one Space.

    Attributes:
        name: of the namespace.
        uid: of the namespace.
        furniture: what it was furnished with, by name.
        counts: what was done.
        note: told of what is worth a line in the history of the Space.
    """

    api: Api
    name: str
    uid: str
    model: SpaceModel
    furniture: Mapping[str, Furniture]
    counts: Counter[str]
    note: Callable[[str], None]
    backups: list[Backup] = field(default_factory=list)
    _manifests: dict[Key, Json] = field(default_factory=dict)

    # -- to begin with ---------------------------------------------------------------------------

    async def furnish(self) -> None:
        """Ship everything."""
        for item in self.furniture.values():
            manifest = item.manifest()
            self._manifests[item.key] = manifest
            self.model.created(await self._ship(manifest, item.shipped))

    async def _ship(self, manifest: Json, how: str) -> Json:
        if how == "ssa":
            path = f"{self._path((manifest['kind'], manifest['metadata']['name']))}"
            return await self.api.call(
                "PATCH",
                f"{path}?fieldManager=kubectl&force=true",
                content_type=_SSA,
                body=manifest,
            )
        if how == "csa":
            manifest = copy.deepcopy(manifest)
            text = json.dumps(manifest)
            manifest["metadata"].setdefault("annotations", {})[LAST_APPLIED] = text
        manager = "kubectl-client-side-apply" if how == "csa" else "kubectl-create"
        path = f"{path_of(manifest, self.name)}?fieldManager={manager}"
        return await self.api.call("POST", path, body=manifest)

    # -- acts by name ----------------------------------------------------------------------------

    async def act(self, act: str, /, **parameters: Any) -> None:
        """Do it.

        Raises:
            NotNowError: it does not apply to what there is.
        """
        do: Callable[..., Awaitable[None]] = getattr(self, f"do_{act}")
        await do(**parameters)
        self.counts[f"act: {act}"] += 1

    async def do_sleep(self) -> None:
        """``sleeper sleep``."""
        await self._annotate(desired="asleep", **{"keep-awake-until": None})
        self.model.wanted = "asleep"

    async def do_wake(self) -> None:
        """``sleeper wake``."""
        until = datetime.now(UTC) + timedelta(seconds=60)
        await self._annotate(
            desired=None, **{"keep-awake-until": until.strftime("%Y-%m-%dT%H:%M:%SZ")}
        )
        self.model.wanted = "awake"

    async def do_until(self, power: str, seconds: float) -> None:
        """Do nothing until it is asleep or awake, but not for longer than that."""
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            namespace = await self._namespace()
            if namespace["metadata"].get("annotations", {}).get(f"{GROUP}power-state") == power:
                return
            await asyncio.sleep(0.25)

    async def do_say(
        self,
        of: str,
        how: str,
        replicas: int | None = None,
        when_scaled: str | None = None,
        image: str | None = None,
        paused: bool | None = None,
        partition: int | None = None,
    ) -> None:
        """Say what some fields are to be, in one of the ways of saying it."""
        item = self._item(of)
        if item.kind == "Deployment":
            when_scaled = partition = None
        else:
            paused = None
            image = None if image == _BAD else image
        changes: Json = {"spec": {}}
        spec = changes["spec"]
        if replicas is not None:
            spec["replicas"] = replicas
        if when_scaled is not None:
            spec["persistentVolumeClaimRetentionPolicy"] = {"whenScaled": when_scaled}
        if image is not None:
            spec["template"] = self._template(item, image)
        if paused is not None:
            spec["paused"] = paused
        if partition is not None:
            spec["updateStrategy"] = {"rollingUpdate": {"partition": partition}}
        if not spec:
            raise NotNowError("nothing to say of this kind")
        word = Word(
            replicas=replicas,
            when_scaled=when_scaled,
            template=None if image is None else self._said_template(item, image),
        )
        await self._write(item.key, how, changes, word)

    async def do_canary(self, of: str, image: str) -> None:
        """Begin a roll-out and pause it at the first new Pod."""
        item = self._item(of)
        if item.kind != "Deployment":
            raise NotNowError("no pausing here")
        changes = {"spec": {"template": self._template(item, image)}}
        word = Word(template=self._said_template(item, image))
        await self._write(item.key, "patch", changes, word)
        for _ in range(10):
            if await self._images(item.key, image):
                break
            await asyncio.sleep(0.1)
        await self._write(item.key, "patch", {"spec": {"paused": True}}, Word())
        for _ in range(20):
            live = await self._live(item.key)
            if live["status"].get("observedGeneration") == live["metadata"]["generation"]:
                break
            await asyncio.sleep(0.1)
        if replicas_of(live) == 0:
            self.model.lost_sight(item.key)
            return
        self.model.held(item.key, await self._settled_images(item.key))

    async def do_undo(self, of: str) -> None:
        """``kubectl rollout undo``: the template of the revision before, with its annotations."""
        key = self._item(of).key
        if key[0] != "Deployment":
            raise NotNowError("no ReplicaSets here")
        for _ in range(_TRIES):
            before = await self._live(key)
            meta = before["metadata"]
            found = await self.api.items(f"/apis/apps/v1/namespaces/{self.name}/replicasets")
            revisions = {
                int(one["metadata"]["annotations"][_REVISION]): one
                for one in found
                if any(o["uid"] == meta["uid"] for o in one["metadata"].get("ownerReferences", ()))
            }
            if len(revisions) < 2 or before["spec"].get("paused"):
                raise NotNowError("nothing to undo")
            earlier = revisions[sorted(revisions)[-2]]
            template = copy.deepcopy(earlier["spec"]["template"])
            template["metadata"]["labels"].pop("pod-template-hash", None)
            own = {k: v for k, v in meta.get("annotations", {}).items() if k in _NOT_UNDONE}
            kept = earlier["metadata"]["annotations"]
            annotations = own | {k: v for k, v in kept.items() if k not in _NOT_UNDONE}
            body = copy.deepcopy(before)
            body.pop("status", None)
            body["spec"]["template"], body["metadata"]["annotations"] = template, annotations
            body["apiVersion"], body["kind"] = "apps/v1", "Deployment"
            try:
                after = await self.api.call(
                    "PUT", f"{self._path(key)}?fieldManager=kubectl-rollout", body=body
                )
            except ApiError as error:
                if error.status == HTTPStatus.CONFLICT:
                    continue
                raise
            word = Word(template=template_of(after))
            self.model.wrote(key, before, after, word, at=time.time())
            self.model.forged(key, before, after)
            excluded = annotations.get(f"{GROUP}exclude") == "true"
            if excluded != (meta.get("annotations", {}).get(f"{GROUP}exclude") == "true"):
                self.model.excluded(key, after, on=excluded, calm=False)
            return
        raise NotNowError("somebody else writes all the time")

    async def do_delete(self, of: str) -> None:
        """Delete a workload."""
        item = self._item(of)
        await self._delete(await self._live(item.key))
        self.model.deleted(item.key)

    async def do_create_again(self, of: str) -> None:
        """Ship a workload anew, where it was deleted."""
        item = self._item(of)
        if item.key in self.model.wills:
            raise NotNowError("it is there")
        manifest = self._manifests[item.key]
        self.model.created(await self._ship(manifest, item.shipped))

    async def do_replace_by_force(self, of: str) -> None:
        """``kubectl get -o yaml | kubectl replace --force -f -``."""
        key = self._item(of).key
        live = await self._live(key)
        will = self.model.wills[key]
        live = await self._delete(live)
        self.model.deleted(key)
        await self._create_copy(live, will)

    async def do_copy(self, of: str, name: str) -> None:
        """``kubectl get -o yaml``, another name, ``kubectl create``."""
        key = self._item(of).key
        name = f"{of}-{name}"
        if (key[0], name) in self.model.wills:
            raise NotNowError("there is such a copy")
        live = copy.deepcopy(await self._live(key))
        live["metadata"]["name"] = name
        live["spec"]["selector"]["matchLabels"]["app"] = name
        live["spec"]["template"]["metadata"]["labels"]["app"] = name
        await self._create_copy(live, self.model.wills[key])

    async def do_back_up(self) -> None:
        """Keep a copy of every object as it is now."""
        for key in list(self.model.wills):
            live = await self._find(key)
            will = self.model.wills.get(key)
            if live is not None and will is not None:
                kept = copy.deepcopy(will)
                self.backups.append(Backup(live=live, will=kept))
        del self.backups[:-12]

    async def do_restore_backup(self, of: str, back: int) -> None:
        """Delete an object and create it anew from a backup."""
        key = self._item(of).key
        backup = self._backup(key, back)
        if key in self.model.wills:
            await self._delete(await self._live(key))
            self.model.deleted(key)
        await self._create_copy(backup.live, backup.will)

    async def restore(self, backup: Backup) -> None:
        """Create an object from a backup of another Space."""
        await self._create_copy(backup.live, backup.will)

    async def do_put_back(self, of: str, back: int) -> None:
        """``kubectl replace`` with the YAML of an earlier sleep, note and all."""
        key = self._item(of).key
        backup = self._backup(key, back)
        for _ in range(_TRIES):
            before = await self._live(key)
            if before["metadata"]["uid"] != backup.live["metadata"]["uid"]:
                raise NotNowError("another object by now")
            if restore_of(backup.live) is None:
                raise NotNowError("a backup of a waking day")
            body = self._plain(backup.live)
            body["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
            try:
                after = await self.api.call(
                    "PUT", f"{self._path(key)}?fieldManager=kubectl-replace", body=body
                )
            except ApiError as error:
                if error.status == HTTPStatus.CONFLICT:
                    continue
                raise
            self.model.put_back(key, before, after, backup.will)
            return
        raise NotNowError("somebody else writes all the time")

    async def do_exclude(self, of: str, on: bool) -> None:
        """``sleeper.dev/exclude`` on a workload."""
        key = self._item(of).key
        calm = await self._is_calm()
        value = "true" if on else None
        after = await self._merge_annotation(key, f"{GROUP}exclude", value)
        calm = calm and await self._is_calm()
        self.model.excluded(key, after, on=on, calm=calm)

    async def do_exclude_space(self, on: bool) -> None:
        """``sleeper.dev/exclude`` on the namespace."""
        await self._annotate(exclude="true" if on else None)
        self._hold("excluded", on=on)

    async def do_hours(self, on: bool) -> None:
        """Awake-hours that are now, or none."""
        await self._annotate(**{"awake-hours": "Mon-Sun 00:00-24:00" if on else None})
        self._hold("awake-hours", on=on)

    async def do_label(self, on: bool) -> None:
        """The tenant label is put on or taken off."""
        labels = {f"{GROUP}tenant": "tenant-a" if on else None}
        await self.api.merge(self._namespace_path, {"metadata": {"labels": labels}})
        self._hold("not a Space", on=not on)

    async def do_autoscaler(self, of: str, on: bool) -> None:
        """A HorizontalPodAutoscaler comes or goes."""
        item = self._item(of)
        path = f"/apis/autoscaling/v2/namespaces/{self.name}/horizontalpodautoscalers"
        if on:
            body = {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": "hpa"},
                "spec": {
                    "scaleTargetRef": {
                        "apiVersion": "apps/v1",
                        "kind": item.kind,
                        "name": item.name,
                    },
                    "minReplicas": 1,
                    "maxReplicas": 9,
                },
            }
            try:
                await self.api.call("POST", path, body=body)
            except ApiError as error:
                raise NotNowError(str(error)) from error
        else:
            await self.api.delete(f"{path}/hpa")
        self._hold("an autoscaler", on=on)

    async def do_forge_note(self, of: str, form: str) -> None:
        """A tenant writes a restore annotation, changes ours or takes it away."""
        key = self._item(of).key
        for _ in range(_TRIES):
            before = await self._live(key)
            raw, asks = self._forged(before, form)
            try:
                after = await self.api.merge(
                    f"{self._path(key)}?fieldManager=kubectl-annotate",
                    {
                        "metadata": {
                            "resourceVersion": before["metadata"]["resourceVersion"],
                            "annotations": {RESTORE: raw},
                        }
                    },
                )
            except ApiError as error:
                if error.status == HTTPStatus.CONFLICT:
                    continue
                raise
            self.model.forged(key, before, after, asks)
            return
        raise NotNowError("somebody else writes all the time")

    async def do_forge_epoch(self, value: str | None) -> None:
        """A tenant writes the number of the sleep on the namespace, or takes it away."""
        await self._annotate(epoch=value)

    async def do_tidy(self) -> None:
        """Take back what holds the Space awake, finish every roll-out, remove the copies."""
        lifts = {
            "excluded": ("exclude_space", {}),
            "awake-hours": ("hours", {}),
            "not a Space": ("label", {}),
            "an autoscaler": ("autoscaler", {"of": "web"}),
        }
        for name in list(self.model.holds):
            act, parameters = lifts[name]
            await self._quietly(act, **parameters, on=name == "not a Space")
        for key, will in list(self.model.wills.items()):
            if key[1] not in self.furniture:
                live = await self._find(key)
                if live is not None:
                    await self._delete(live)
                    self.model.deleted(key)
                continue
            if will.excluded is not None:
                await self._quietly("exclude", of=key[1], on=False)
            if will.between or not will.template.starts or any(brakes(will.rest)):
                image = "1" if will.template.image.endswith(":2") else "2"
                await self._quietly(
                    "say", of=key[1], how="patch", image=image, paused=False, partition=0
                )

    async def _quietly(self, act: str, /, **parameters: Any) -> None:
        try:
            await self.act(act, **parameters)
        except NotNowError as why:
            self.note(f"{act}: not now: {why}")

    # -- what they are made of -------------------------------------------------------------------

    @property
    def _namespace_path(self) -> str:
        return f"/api/v1/namespaces/{self.name}"

    def _path(self, key: Key) -> str:
        return f"/apis/apps/v1/namespaces/{self.name}/{_KINDS[key[0]]}/{key[1]}"

    def _item(self, name: str) -> Furniture:
        found = self.furniture.get(name)
        if found is None:
            raise NotNowError(f"no {name} here")
        return found

    def _hold(self, name: str, *, on: bool) -> None:
        if on:
            self.model.holds.setdefault(name, time.time())
        else:
            self.model.holds.pop(name, None)

    async def _annotate(self, **annotations: str | None) -> None:
        await self.api.annotate(self.name, **annotations)

    async def _namespace(self) -> Json:
        return await self.api.get(self._namespace_path)

    async def _find(self, key: Key) -> Json | None:
        return await self.api.find(self._path(key))

    async def _live(self, key: Key) -> Json:
        """The object as its owner left it there.

        Raises:
            NotNowError: its owner has deleted it.
        """
        if key not in self.model.wills:
            raise NotNowError("it is deleted")
        live = await self._find(key)
        if live is None:
            raise NotNowError("it is gone")
        return live

    async def _is_calm(self) -> bool:
        """Whether it is awake and nobody is about to put it to sleep."""
        found = await self._namespace()
        power = found["metadata"].get("annotations", {}).get(f"{GROUP}power-state")
        return power == "Awake" and self.model.wanted != "asleep" and not await self._records()

    async def _records(self) -> list[Json]:
        found = await self.api.items(RECORDS)
        return [record for record in found if record["spec"]["spaceName"] == self.name]

    def _said_template(self, item: Furniture, image: str) -> Template:
        start_after = "24h" if image == _BAD else item.start_after
        return Template(image=f"registry.example/app:{image}", start_after=start_after)

    def _template(self, item: Furniture, image: str) -> Json:
        said = self._said_template(item, image)
        return {
            "metadata": {
                "annotations": {"devcluster.sleeper.dev/start-after": said.start_after},
            },
            "spec": {"containers": [{"name": "app", "image": said.image}]},
        }

    def _backup(self, key: Key, back: int) -> Backup:
        found = [b for b in self.backups if (b.live["kind"], b.live["metadata"]["name"]) == key]
        if len(found) < back:
            raise NotNowError("no such backup")
        return found[-back]

    async def _write(self, key: Key, how: str, changes: Json, word: Word) -> None:
        for _ in range(_TRIES):
            before = await self._live(key)
            owed = word.replicas == 0 and await self._is_owed(key, before)
            if how == "scale" and (word.replicas is None or set(changes["spec"]) != {"replicas"}):
                how = "patch"
            try:
                after, word = await self._said(key, how, before, changes, word)
            except ApiError as error:
                if error.status == HTTPStatus.CONFLICT:
                    if "conflict with" in str(error):
                        self._conflict(str(error))
                        raise NotNowError("a conflict with another manager") from error
                    continue
                raise
            owed = owed or (word.replicas == 0 and await self._is_owed(key, before))
            self.model.wrote(key, before, after, word, at=time.time(), owed=owed)
            return
        raise NotNowError("somebody else writes all the time")

    async def _is_owed(self, key: Key, live: Json) -> bool:
        """Whether a workload that is scaled to 0 now looks like one that a sleep has turned.

        A sleep on record names it, and no wake has noted it as back. Told apart it is only before
        its turn: by one single step of its generation, where annotations are steps too, or by a
        claim policy that a sleep would have turned.
        """
        for record in await self._records():
            for entry in record["spec"]["entries"]:
                if (entry["kind"], entry["name"]) != key or entry.get("backAt") is not None:
                    continue
                first = live["metadata"]["generation"] == entry.get("sleptFrom")
                told = (first and key[0] == "Deployment") or (
                    "Delete" in str(entry["fields"]) and when_scaled_of(live) == "Delete"
                )
                return not told
        return False

    def _conflict(self, message: str) -> None:
        ours = 'with \\"sleeper\\"' in message or 'with "sleeper"' in message
        self.counts["owner's applies that met a conflict" + (" with sleeper" if ours else "")] += 1
        self.note(message)

    async def _said(
        self, key: Key, how: str, before: Json, changes: Json, word: Word
    ) -> tuple[Json, Word]:
        """One write; what it left, and what it said, which for an apply is the whole manifest."""
        version = before["metadata"]["resourceVersion"]
        path = self._path(key)
        if how == "scale":
            body: Json = {"metadata": {"resourceVersion": version}, **changes}
            said = await self.api.merge(f"{path}/scale?fieldManager=kubectl", body)
            if said["metadata"]["resourceVersion"] == version:
                return before, word
            after = copy.deepcopy(before)
            after["spec"]["replicas"] = word.replicas
            if word.replicas == 0:  # a Scale object does not show a 0, so nobody holds it
                for entry in after["metadata"]["managedFields"]:
                    entry["fieldsV1"].get("f:spec", {}).pop("f:replicas", None)
            return after, word
        if how == "patch":
            if "template" in changes["spec"]:  # a merge patch would replace the list of containers
                how = "strategic"
            body = {"metadata": {"resourceVersion": version}, **changes}
            kind = _STRATEGIC if how == "strategic" else _MERGE
            path = f"{path}?fieldManager=another-tool"
            return await self.api.call("PATCH", path, content_type=kind, body=body), word
        if how == "put":
            body = self._plain(before)
            body["metadata"]["resourceVersion"] = version
            _merge(body, changes)
            path = f"{path}?fieldManager=an-operator"
            return await self.api.call("PUT", path, body=body), word
        manifest = self._manifests.setdefault(key, self._bare(before))
        changed = copy.deepcopy(manifest)
        _merge(changed, changes)
        if not changed["spec"].get("paused"):
            changed["spec"].pop("paused", None)
        after = await self._apply(how, path, before, changed)
        self._manifests[key] = changed
        policy = changed["spec"].get("persistentVolumeClaimRetentionPolicy", {})
        whole = Word(
            replicas=changed["spec"]["replicas"],
            when_scaled=policy.get("whenScaled"),
            template=template_of(changed),
        )
        return after, whole

    async def _apply(self, how: str, path: str, before: Json, manifest: Json) -> Json:
        body = copy.deepcopy(manifest)
        version = before["metadata"]["resourceVersion"]
        if how == "csa":
            text = json.dumps(manifest)
            body["metadata"].setdefault("annotations", {})[LAST_APPLIED] = text
            body["metadata"]["resourceVersion"] = version
            if manifest["kind"] == "Deployment":
                body["spec"].setdefault("paused", None)
            path = f"{path}?fieldManager=kubectl-client-side-apply"
            return await self.api.call("PATCH", path, content_type=_STRATEGIC, body=body)
        body["metadata"]["resourceVersion"] = version
        try:
            return await self.api.call(
                "PATCH", f"{path}?fieldManager=kubectl", content_type=_SSA, body=body
            )
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT or "conflict with" not in str(error):
                raise
            self._conflict(str(error))
            if "sleeper" in str(error):
                raise
            return await self.api.call(
                "PATCH", f"{path}?fieldManager=kubectl&force=true", content_type=_SSA, body=body
            )

    async def meets_sleeper(self, key: Key) -> str | None:
        """Try what the owner's next server-side apply would meet; the conflict with us, or None."""
        live = await self._find(key)
        if live is None:
            return None
        body = self._bare(live)
        body["spec"]["replicas"] = replicas_of(live) + 1
        if "persistentVolumeClaimRetentionPolicy" in body["spec"]:
            body["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"] = (
                "Delete"
                if body["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Retain"
                else "Retain"
            )
        try:
            await self.api.call(
                "PATCH",
                f"{self._path(key)}?fieldManager=kubectl&dryRun=All",
                content_type=_SSA,
                body=body,
            )
        except ApiError as error:
            if error.status == HTTPStatus.CONFLICT and "sleeper" in str(error):
                return str(error)
        return None

    async def _merge_annotation(self, key: Key, name: str, value: str | None) -> Json:
        await self._live(key)
        return await self.api.merge(
            f"{self._path(key)}?fieldManager=kubectl-annotate",
            {"metadata": {"annotations": {name: value}}},
        )

    async def _delete(self, live: Json) -> Json:
        """Delete an object as it was just read, or as it is read then; what was deleted."""
        key = live["kind"], live["metadata"]["name"]
        for _ in range(_TRIES):
            meta = live["metadata"]
            body = {
                "propagationPolicy": "Background",
                "preconditions": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]},
            }
            try:
                await self.api.call("DELETE", self._path(key), body=body)
                return live
            except ApiError as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise
            live = await self._live(key)
        raise NotNowError("somebody else writes all the time")

    async def _create_copy(self, live: Json, will: Will) -> None:
        body = self._plain(live)
        path = f"{path_of(body, self.name)}?fieldManager=velero"
        self.model.copied(await self.api.call("POST", path, body=body), will)
        self.counts["restores: objects made from copies"] += 1

    def _plain(self, live: Json) -> Json:
        """A live object as a person has it in a file: without what the server keeps of it."""
        body = copy.deepcopy(live)
        body.pop("status", None)
        body["apiVersion"], body["kind"] = "apps/v1", live["kind"]
        meta = body["metadata"]
        body["metadata"] = {k: meta[k] for k in ("name", "labels", "annotations") if k in meta}
        return body

    def _bare(self, live: Json) -> Json:
        """A manifest for an object that was never shipped by one."""
        body = self._plain(live)
        body["metadata"] = {"name": live["metadata"]["name"]}
        return body

    def _forged(self, live: Json, form: str) -> tuple[str | None, int | None]:
        """A restore annotation in one of several forms, and the replicas that it asks for."""
        if form == "none":
            return None, None
        if form == "garbage":
            return "{not json", None
        raw = restore_of(live)
        if raw is not None:
            try:
                note = json.loads(raw)
            except ValueError:
                return "[]", None
        else:
            note = {"v": 1, "epoch": 1, "fields": {}}
            note |= {"space": self.uid, "uid": live["metadata"]["uid"]}
        asks = int(note.get("fields", {}).get("/spec/replicas") or 1) + 1
        if form == "epoch":
            note["epoch"] = 999_999_999_999_999
        else:
            note.setdefault("fields", {})["/spec/replicas"] = asks
        return json.dumps(note), asks

    async def _images(self, key: Key, image: str) -> int:
        return (await self._settled_images(key, stable=False))[f"registry.example/app:{image}"]

    async def _settled_images(self, key: Key, *, stable: bool = True) -> Counter[str]:
        """How many Pods of each image, once that has been the same twice."""
        last: Counter[str] | None = None
        for _ in range(20):
            pods = await self.api.items(
                f"/api/v1/namespaces/{self.name}/pods?labelSelector=app%3D{key[1]}"
            )
            found = Counter(
                pod["spec"]["containers"][0]["image"]
                for pod in pods
                if "deletionTimestamp" not in pod["metadata"]
            )
            if not stable or found == last:
                return found
            last = found
            await asyncio.sleep(0.4)
        raise NotNowError("its Pods do not settle")


def _merge(target: Json, changes: Json) -> None:
    """Changes into a manifest, member by member; lists of containers by their only member."""
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(target.get(name), dict):
            _merge(target[name], value)
        elif name == "containers" and target.get(name):
            target[name][0].update(value[0])
        else:
            target[name] = copy.deepcopy(value)
