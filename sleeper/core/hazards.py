"""What sleeping would destroy, could not bring back, or is not handled yet. Pure.

Each finder looks for one kind of hazard; :data:`FINDERS` lists them, most important first. To
handle a further kind of workload, add it to :mod:`sleeper.core.workloads` and take its finder out.

What a sleep spares (:meth:`sleeper.core.owners.Owners.spared`) is no hazard. Nor is a Pod that has
finished or is being deleted: there is nothing of it left to lose.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sleeper.core.adoption import marker
from sleeper.core.names import EXCLUDE, LOCAL_DATA
from sleeper.core.objects import (
    CronJob,
    DaemonSet,
    Deployment,
    Job,
    KubeObject,
    Pod,
    ReplicaSet,
    ReplicationController,
    SpaceObjects,
    StatefulSet,
)
from sleeper.core.owners import Owners, is_listed
from sleeper.core.plan import as_json
from sleeper.core.policy import LocalData, read_local_data
from sleeper.core.reasons import Reason
from sleeper.core.record import SleepRecord
from sleeper.core.restore import copied_notes
from sleeper.core.snapshot import Hazard
from sleeper.core.text import MOST_NAMED, shortened, some
from sleeper.core.workloads import KINDS

SAFE_TO_EVICT: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict"
DO_NOT_DISRUPT: Final = "karpenter.sh/do-not-disrupt"

_FINISHED_PODS: Final = frozenset({"Succeeded", "Failed"})
_FINISHED_JOBS: Final = frozenset({"Complete", "Failed"})

_MOST_LEVELS: Final = 8
"""So far up the owners of an object are followed for a piece of advice."""


@dataclass(frozen=True, slots=True)
class _Scene:
    """A Space's objects with their owners found.

    Attributes:
        objects: all of them.
        recorded: uids of the objects of the present sleep; our own hand is on these.
        local_data: what is to become of data that lies in a Pod alone.
        owners: who manages whom.
        wanting: uid of an owner → names of its ReplicaSets that want Pods.
        pods: the Pods that run or may run, and are not excluded.
        longest_stop: how long a Pod may take to stop; None: for ever.
    """

    objects: SpaceObjects
    recorded: frozenset[str]
    local_data: LocalData
    owners: Owners
    wanting: Mapping[str, list[str]]
    pods: tuple[Pod, ...]
    longest_stop: timedelta | None = None


_Finder = Callable[[_Scene], Iterator[Hazard]]


_SHARE_OF_STOPPING: Final = 0.9
"""How much of the time to fall asleep Pods may use up; the rest is the controllers' and nodes'."""


def find_hazards(
    objects: SpaceObjects,
    record: SleepRecord | None = None,
    *,
    local_data: LocalData = LocalData.KEEP,
    sleep_deadline: timedelta | None = None,
) -> tuple[Hazard, ...]:
    """Every hazard of a Space, most important first.

    Args:
        objects: the Space's objects.
        record: its present sleep; objects in it are not busy by themselves but by our doing.
        local_data: whether data that lies in a Pod alone holds, where its workload does not say.
        sleep_deadline: how long it may take to fall asleep.
    """
    owners = Owners(objects)
    recorded = frozenset(entry.ref.uid for entry in record.entries) if record else frozenset()
    scene = _Scene(
        objects=objects,
        recorded=recorded,
        local_data=local_data,
        owners=owners,
        wanting=_wanting(objects),
        pods=tuple(
            pod
            for pod in objects.pods
            if pod.status.phase not in _FINISHED_PODS
            and pod.metadata.deletion_timestamp is None
            and not owners.spared(pod)
        ),
        longest_stop=sleep_deadline and sleep_deadline * _SHARE_OF_STOPPING,
    )
    return tuple(hazard for find in FINDERS for hazard in find(scene))


def _bare_pods(scene: _Scene) -> Iterator[Hazard]:
    for pod in scene.pods:
        if not pod.metadata.owners():
            name = f"Pod/{pod.metadata.name}"
            yield Hazard(
                reason=Reason.BARE_POD,
                subject=name,
                message=f"{name} has no owner that would start it again",
                advice=f"{name} gone, or {_exclude(name)}",
                wakes=True,
            )


def _unsupported(scene: _Scene) -> Iterator[Hazard]:
    """What runs Pods and cannot be put to sleep, one hazard for each top owner."""
    named: set[str] = set()
    below = _below_unknown(scene)
    for pod in scene.pods:
        top = scene.owners.top(pod)
        if top is None or top.uid in named:
            continue
        found = scene.owners.get(top.uid)
        if isinstance(found, Deployment | StatefulSet | DaemonSet | Job | CronJob):
            continue  # put to sleep by us, or a hazard of its own
        named.add(top.uid)
        name = f"{top.kind}/{top.name}"
        yield Hazard(
            reason=Reason.UNSUPPORTED_WORKLOAD,
            subject=name,
            message=f"{name} runs Pod {pod.metadata.name} and is not a kind that we can bring back",
            advice=_without(name, below.get(top.uid, (name,))),
            # An owner of a listed kind that is missing is only late: news of it is on its way.
            wakes=found is not None or not is_listed(top),
        )
    loners: tuple[ReplicaSet | ReplicationController, ...] = (
        *scene.objects.replica_sets,
        *scene.objects.replication_controllers,
    )
    for owner in loners:
        if not _replicas(owner) or scene.owners.spared(owner) or owner.metadata.uid in named:
            continue
        top = scene.owners.top(owner)
        if top is not None and (
            top.uid in named or is_listed(top) or scene.owners.get(top.uid) is not None
        ):
            continue  # named already, or owned by what has a rule of its own
        named.add(owner.metadata.uid if top is None else top.uid)
        name = _name(owner) if top is None else f"{top.kind}/{top.name}"
        what = "" if top is None else f" wants Pods by {_name(owner)} and"
        yield Hazard(
            reason=Reason.UNSUPPORTED_WORKLOAD,
            subject=name,
            message=f"{name}{what} is not a kind that we can bring back",
            advice=_without(name, (name,) if top is None else below[top.uid]),
            wakes=True,
        )


def _below_unknown(scene: _Scene) -> Mapping[str, Collection[str]]:
    """What spares what owners run that we know by their references alone, by their uid."""
    below: dict[str, dict[str, None]] = {}
    sets: tuple[ReplicaSet | ReplicationController, ...] = (
        *scene.objects.replica_sets,
        *scene.objects.replication_controllers,
    )
    for one in sets:
        top = scene.owners.top(one) if _replicas(one) else None
        if top is not None and scene.owners.get(top.uid) is None:
            below.setdefault(top.uid, {})[_name(one)] = None
    for pod in scene.pods:
        top = scene.owners.top(pod)
        if top is not None and scene.owners.get(top.uid) is None:
            below.setdefault(top.uid, {}).update(dict.fromkeys(_spared_by(scene, pod)))
    return below


def _without(name: str, spared_by: Collection[str]) -> str:
    """The advice on an owner: by what is below it where we cannot see it itself."""
    advice = f"{name} gone, or {_exclude(*spared_by)}"
    return advice if name in spared_by else f"{advice}; on {name} that has no effect"


def _running_jobs(scene: _Scene) -> Iterator[Hazard]:
    for job in scene.objects.jobs:
        if _runs(job) and not scene.owners.spared(job):
            name = f"Job/{job.metadata.name}"
            yield Hazard(
                reason=Reason.RUNNING_JOB,
                subject=name,
                message=f"{name} is running",
                advice=f"the end of {name}, or {_exclude(name)}",
                wakes=True,
            )


def _cron_jobs(scene: _Scene) -> Iterator[Hazard]:
    for cron_job in scene.objects.cron_jobs:
        if not cron_job.spec.suspend and not scene.owners.spared(cron_job):
            name = f"CronJob/{cron_job.metadata.name}"
            yield Hazard(
                reason=Reason.CRON_JOB,
                subject=name,
                message=f"{name} would start Pods ({cron_job.spec.schedule}) and is not suspended",
                advice=f"{name} suspended or gone, or {_exclude(name)}",
                wakes=True,
            )


def _daemon_sets(scene: _Scene) -> Iterator[Hazard]:
    for daemon_set in scene.objects.daemon_sets:
        wanted = daemon_set.status.desired_number_scheduled
        if wanted != 0 and not scene.owners.spared(daemon_set):
            name = f"DaemonSet/{daemon_set.metadata.name}"
            yield Hazard(
                reason=Reason.DAEMON_SET,
                subject=name,
                message=f"{name} runs Pods on {'its' if wanted is None else wanted} nodes",
                advice=f"{name} gone, or {_exclude(name)}",
                wakes=True,
            )


def _autoscalers(scene: _Scene) -> Iterator[Hazard]:
    for autoscaler in scene.objects.autoscalers:
        target = autoscaler.spec.scale_target_ref
        scaled = scene.owners.target(target)
        if scaled is not None and scene.owners.spared(scaled):
            continue
        name = f"HorizontalPodAutoscaler/{autoscaler.metadata.name}"
        yield Hazard(
            reason=Reason.AUTOSCALER,
            subject=name,
            message=f"{name} scales {target.kind}/{target.name}; it is not handled yet",
            advice=f"{name} gone" + ("" if scaled is None else f", or {_exclude(_name(scaled))}"),
        )


def _operator_managed(scene: _Scene) -> Iterator[Hazard]:
    for workload in _workloads(scene):
        owners = workload.metadata.owners()
        if owners and _replicas(workload):
            yield Hazard(
                reason=Reason.OPERATOR_MANAGED,
                subject=_name(workload),
                message=f"{_name(workload)} belongs to {owners[0].kind}/{owners[0].name}, "
                "whose controller would revert us",
                advice=f"{_name(workload)} at zero by its own controller, or "
                f"{_exclude(_name(workload))}, if that controller leaves it there",
            )


def _not_to_be_evicted(scene: _Scene) -> Iterator[Hazard]:
    for pod in scene.pods:
        for key, harmless in ((SAFE_TO_EVICT, "true"), (DO_NOT_DISRUPT, "false")):
            value = pod.metadata.annotation(key)
            if value is not None and value.strip().lower() != harmless:
                name = f"Pod/{pod.metadata.name}"
                yield Hazard(
                    reason=Reason.DO_NOT_EVICT,
                    subject=name,
                    message=f"{name} is not to be evicted ({key}: {shortened(value)})",
                    advice=f"{name} gone or without {key}, or {_exclude(*_spared_by(scene, pod))}",
                )


def _busy(scene: _Scene) -> Iterator[Hazard]:
    """Workloads between two revisions, and those whose owner holds roll-outs back.

    At zero no controller knows any more which Pods it had; see
    :meth:`sleeper.core.workloads.WorkloadKind.busy`. A roll-out that is held back from now on would
    reach every Pod of one that sleeps already.
    """
    for workload in _workloads(scene):
        kind, live = KINDS[type(workload).__name__], as_json(workload)
        recorded = workload.metadata.uid in scene.recorded
        if recorded:
            why = kind.held_back(live)
        else:
            why = kind.busy(live) or _several_revisions(scene, workload)
        if why is not None:
            yield Hazard(
                reason=Reason.WORKLOAD_BUSY,
                subject=_name(workload),
                message=f"{_name(workload)} is busy: {why}",
                advice=f"{_name(workload)} with all of its Pods at one revision and nothing that "
                f"holds a roll-out back, or {_exclude(_name(workload))}",
                wakes=recorded,
            )


def _several_revisions(scene: _Scene, workload: KubeObject) -> str | None:
    """Several ReplicaSets of one Deployment that want Pods, whatever its status says of them."""
    wanting = scene.wanting.get(workload.metadata.uid, [])
    return f"ReplicaSets {some(wanting)} all want Pods" if len(wanting) > 1 else None


def _wanting(objects: SpaceObjects) -> Mapping[str, list[str]]:
    """Uid of an owner → names of its ReplicaSets that want Pods."""
    wanting: dict[str, list[str]] = {}
    for owned in objects.replica_sets:
        for owner in owned.metadata.owners() if _replicas(owned) else ():
            wanting.setdefault(owner.uid, []).append(owned.metadata.name)
    return wanting


def _slow_to_stop(scene: _Scene) -> Iterator[Hazard]:
    """Workloads a Pod of which may outlast the time to fall asleep; the sleep would be undone."""
    if scene.longest_stop is None:
        return
    limit = scene.longest_stop.total_seconds()
    slowest: dict[str, tuple[int, str]] = {}
    for pod in scene.pods:
        seconds = pod.spec.termination_grace_period_seconds or 0
        for workload in scene.owners.workloads_above(pod) if seconds >= limit else ():
            found = (seconds, f"Pod/{pod.metadata.name}")
            slowest[workload.metadata.uid] = max(found, slowest.get(workload.metadata.uid, found))
    for workload in _workloads(scene):
        if not _replicas(workload) or workload.metadata.uid in scene.recorded:
            continue
        seconds = workload.spec.template.spec.termination_grace_period_seconds or 0
        of_template = (seconds, f"a Pod of {_name(workload)}")
        seconds, pod_name = slowest.get(workload.metadata.uid, of_template)
        if seconds >= limit:
            yield Hazard(
                reason=Reason.SLOW_TO_STOP,
                subject=_name(workload),
                message=f"{_name(workload)} has {limit:g} s to stop, and {pod_name} may take "
                f"{seconds} s (terminationGracePeriodSeconds)",
                advice=f"terminationGracePeriodSeconds below {limit:g} in the Pods of "
                f"{_name(workload)}, or {_exclude(_name(workload))}",
            )


def _asleep_by_another(scene: _Scene) -> Iterator[Hazard]:
    for workload in _workloads(scene):
        mark = marker(workload)
        if (
            mark is not None
            and not _replicas(workload)
            and (workload.metadata.uid not in scene.recorded)
        ):
            yield Hazard(
                reason=Reason.ASLEEP_BY_ANOTHER,
                subject=_name(workload),
                message=f"{_name(workload)} was put to zero by {mark.tool} and is left alone",
                holds=False,
            )


def _restored_asleep(scene: _Scene) -> Iterator[Hazard]:
    """Workloads that were made from the look of sleeping ones, and stay at zero for that."""
    space = scene.objects.namespace.metadata.name
    for ref, _ in copied_notes(scene.objects):
        name = f"{ref.kind}/{ref.name}"
        yield Hazard(
            reason=Reason.RESTORED_WHILE_ASLEEP,
            subject=name,
            message=f"{name} was restored or copied while it slept and stays at zero; "
            f"`sleeper wake {space}` brings it back",
            holds=False,
        )


def _claims(scene: _Scene) -> Iterator[Hazard]:
    for stateful_set in scene.objects.stateful_sets:
        policy = stateful_set.spec.persistent_volume_claim_retention_policy
        deletes = policy is not None and policy.when_scaled == "Delete"
        if deletes and _replicas(stateful_set) and not scene.owners.spared(stateful_set):
            yield Hazard(
                reason=Reason.CLAIM_RETENTION,
                subject=_name(stateful_set),
                message=f"{_name(stateful_set)} deletes its claims when it is scaled down; "
                "sleeping switches that to Retain in the same write, and waking switches it back",
                holds=False,
            )


def _local_data(scene: _Scene) -> Iterator[Hazard]:
    """Data of databases that goes with its Pod, once for each container of a workload."""
    named: set[tuple[str, str]] = set()
    found = (
        (workload, lost)
        for pod in scene.pods
        if pod.spec.perishables
        for workload in scene.owners.workloads_above(pod)  # sleep stops no others
        for lost in pod.spec.perishables
    )
    for workload, lost in found:
        if (workload.metadata.uid, lost.container) not in named:
            named.add((workload.metadata.uid, lost.container))
            holds = _wish(workload, scene.local_data) is LocalData.KEEP
            what = (
                f"{_name(workload)} keeps the data of container {lost.container} "
                f"({lost.image}) in {lost.directory}, on {lost.held_by}"
            )
            cure = (
                f"sleeping would lose it. Mount a claim there, or let it go with {LOCAL_DATA}: "
                f"{LocalData.DISPOSABLE} on the workload or its namespace"
            )
            let_go = f"{LOCAL_DATA}: {LocalData.DISPOSABLE}"
            yield Hazard(
                reason=Reason.LOCAL_DATA,
                subject=_name(workload),
                message=f"{what}: {cure if holds else 'sleeping loses it, as its owner allows'}",
                advice=f"a volume at {lost.directory} that outlives the Pod, or {let_go} on "
                f"{_name(workload)}, or {let_go} on the namespace, or {_exclude(_name(workload))}",
                holds=holds,
                empties=f"{lost.directory} of {_name(workload)}",
            )


def _wish(workload: KubeObject, default: LocalData) -> LocalData:
    """What the owner wants for a workload; what cannot be read keeps."""
    text = workload.metadata.annotation(LOCAL_DATA)
    if text is None:
        return default
    try:
        return read_local_data(text)
    except ValueError:
        return LocalData.KEEP


def _empty_dirs(scene: _Scene) -> Iterator[Hazard]:
    named: set[str] = set()
    for pod in scene.pods:
        volumes = pod.spec.empty_dirs
        top = scene.owners.top(pod)
        if not volumes or top is None or top.uid in named:
            continue
        named.add(top.uid)
        name = f"{top.kind}/{top.name}"
        yield Hazard(
            reason=Reason.EMPTY_DIR,
            subject=name,
            message=f"{name} keeps data in emptyDir ({some(volumes)}), "
            "which sleeping empties, as any roll-out does",
            holds=False,
            empties=f"emptyDir {some(volumes)} of {name}",
        )


FINDERS: Final[tuple[_Finder, ...]] = (
    _bare_pods,
    _unsupported,
    _running_jobs,
    _cron_jobs,
    _daemon_sets,
    _autoscalers,
    _operator_managed,
    _not_to_be_evicted,
    _busy,
    _slow_to_stop,
    _local_data,
    _asleep_by_another,
    _restored_asleep,
    _claims,
    _empty_dirs,
)
"""The first seven kinds cannot be brought back or would revert us; the last three only tell."""


def emptied(hazards: Iterable[Hazard]) -> str | None:
    """What sleeping empties, as half a sentence; None: nothing that is known of."""
    named = [hazard.empties for hazard in hazards if hazard.empties and not hazard.holds]
    if not named:
        return None
    return f"sleeping empties {some(named, '; ')}"


def _workloads(scene: _Scene) -> tuple[Deployment | StatefulSet, ...]:
    """Workloads that sleep would stop or leave alone, without the excluded ones."""
    workloads: tuple[Deployment | StatefulSet, ...] = (
        *scene.objects.deployments,
        *scene.objects.stateful_sets,
    )
    return tuple(w for w in workloads if not scene.owners.spared(w))


def _exclude(*names: str) -> str:
    """The annotation by which a sleep leaves these objects, and what they own, running."""
    return f'{EXCLUDE}: "true" on {some(names, " and ")}'


def _spared_by(scene: _Scene, pod: Pod) -> tuple[str, ...]:
    """On which objects ``exclude`` spares a Pod: as :meth:`Owners.spared` answers."""
    if workloads := scene.owners.workloads_above(pod):
        return tuple(map(_name, workloads))
    here: KubeObject = pod
    for _ in range(_MOST_LEVELS):
        known = (scene.owners.get(owner.uid) for owner in here.metadata.owners()[:MOST_NAMED])
        above = next((one for one in known if one is not None), None)
        if above is None:
            break
        here = above
    return (_name(here),)


def _replicas(
    workload: Deployment | StatefulSet | ReplicaSet | ReplicationController,
) -> int:
    """Wanted replicas; absent means 1, as the API server defaults it."""
    replicas = workload.spec.replicas
    return 1 if replicas is None else replicas


def _runs(job: Job) -> bool:
    """Whether a Job runs Pods or is about to."""
    finished = any(
        condition.type in _FINISHED_JOBS and condition.status == "True"
        for condition in job.status.conditions or ()
    )
    if finished:
        return False
    return bool(job.status.active) or not job.spec.suspend


def _name(obj: KubeObject) -> str:
    return f"{type(obj).__name__}/{obj.metadata.name}"
