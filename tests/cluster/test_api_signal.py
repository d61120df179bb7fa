"""The API signal on the real API server, behind the audit policy that we ship."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from devcluster.client import Cluster

from metrics.core.audit import AuditEvent, AuditRules
from metrics.core.signals import Activity, ActorClass, SignalView
from metrics.core.steps import TimeLine
from metrics.core.watermark import Blindness, GapReason, SightLimits
from metrics.recorder import NullRecorder
from metrics.sources.audit import decode
from sleeper.api.listening import listening
from sleeper.api.sink import AuditSink, Authenticator, SinkLimits, serve, tls_context
from sleeper.control.audit import ApiSignal, ApiSignalSettings
from sleeper.kube.client import KubeClient
from sleeper.store.engine import Database
from sleeper.telemetry.clock import SystemClock
from tests.support.api import ApiError, kubectl
from tests.support.eventually import eventually
from tests.support.manifests import deployment
from tests.support.spaces import LiveSpace

pytestmark = pytest.mark.cluster

HORIZON = timedelta(seconds=3)
CANARY_TIMEOUT = timedelta(seconds=6)


class Watching:
    """The signal of one API server, and everything that its sink heard."""

    def __init__(self, cluster: Cluster, database: Database, client: KubeClient) -> None:
        self.clock = SystemClock()
        self.events: list[AuditEvent] = []
        self.told: list[tuple[str, Activity]] = []
        self._cluster = cluster
        self.signal = ApiSignal(
            ApiSignalSettings(
                limits=SightLimits(
                    retry_horizon=HORIZON,
                    canary_timeout=CANARY_TIMEOUT,
                    max_clock_offset=timedelta(seconds=5),
                    max_clock_step=timedelta(seconds=2),
                ),
                flush_interval=timedelta(seconds=0.2),
                canary_interval=timedelta(seconds=0.5),
                request_timeout_seconds=2.0,
                stream_bound=timedelta(hours=4),
                identity="test",
                namespace="sleeper-system",
            ),
            apiservers={"devcluster": client},
            rules=AuditRules(own_agent="sleeper"),
            is_space=lambda name: name.startswith("space-"),
            pod_is_gone=lambda *_: False,
            database=database,
            line=TimeLine(self.clock, limit=timedelta(seconds=2)),
            clock=self.clock,
            recorder=NullRecorder(),
        )
        self.signal.subscribe(lambda space, activity: self.told.append((space, activity)))
        self._sink = AuditSink(
            self,
            authenticator=Authenticator(token_file=None),
            apiservers=frozenset({"devcluster"}),
            clock=self.clock,
            recorder=NullRecorder(),
            limits=SinkLimits(),
        )

    def receive(self, apiserver: str, body: bytes | bytearray | memoryview) -> int:
        self.events.extend(decode(body).events)
        return self.signal.intake.receive(apiserver, body)

    def miss(self, apiserver: str, reason: GapReason) -> None:
        self.signal.intake.miss(apiserver, reason)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """The sink, where the API server expects it."""
        pki = self._cluster.pki
        tls = tls_context(
            certificate=pki("sink.crt"), key=pki("sink.key"), client_ca=pki("sink-ca.crt")
        )
        port = self._cluster.sink_port
        with listening("127.0.0.1", port, section="api_signal") as listener:
            async with serve(self._sink, listener, tls=tls):
                yield

    @property
    def view(self) -> SignalView:
        return self.signal.view(self.clock.now())

    async def until_it_sees(self) -> None:
        await eventually(
            lambda: self.view.unknown_because is None and self.view.watermark is not None,
            within=30,
            what="canaries return and settle",
        )

    def heard(self, space: str) -> set[tuple[str, str]]:
        """Verb and resource of the events of a namespace."""
        return {
            (e.verb, "/".join(filter(None, (e.object_ref.resource, e.object_ref.subresource))))
            for e in self.events
            if e.object_ref is not None and e.object_ref.namespace == space
        }


@pytest_asyncio.fixture
async def watching(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Watching]:
    """The signal with its probes and flushes running, but no sink yet."""
    async with AsyncExitStack() as stack:
        database = await Database.open(f"sqlite+aiosqlite:///{tmp_path}/sleeper.db")
        stack.push_async_callback(database.close)
        client = await KubeClient.connect(
            kubeconfig=cluster.kubeconfig("sleeper"),
            clock=SystemClock(),
            user_agent="sleeper/test",
            request_timeout_seconds=2.0,
        )
        await stack.enter_async_context(client)
        made = Watching(cluster, database, client)
        await made.signal.start()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(made.signal.run())
            yield made
            running.cancel()


async def test_canaries_return_and_the_watermark_follows_one_horizon_behind(
    watching: Watching,
) -> None:
    async with watching.listening():
        await watching.until_it_sees()
        before = watching.view.watermark
        assert before is not None

        def has_moved() -> bool:
            mark = watching.view.watermark
            return mark is not None and mark > before

        await eventually(has_moved, within=10)
        mark = watching.view.watermark
        assert mark is not None
        behind = watching.clock.now() - mark
        assert HORIZON <= behind < HORIZON + timedelta(seconds=10)


async def test_the_policy_lets_through_what_people_do_in_a_space(
    watching: Watching, cluster: Cluster, space: LiveSpace
) -> None:
    await space.create(deployment("web"))
    await eventually(space.ready_pods)
    pod = (await space.pods())[0]["metadata"]["name"]
    async with watching.listening():
        await watching.until_it_sees()
        here = ("-n", space.name)
        for command in (
            ("get", "pods"),
            ("get", "pod", pod),
            ("create", "configmap", "made-by-alice"),
            ("delete", "configmap", "made-by-alice"),
            ("scale", "deployment/web", "--replicas=1"),
        ):
            await kubectl(cluster, *here, *command, identity="alice")
        for unanswered in (("logs", pod), ("exec", pod, "--", "true")):  # there is no kubelet
            with suppress(ApiError):
                await kubectl(cluster, *here, *unanswered, identity="alice")
        expected = {
            ("list", "pods"),
            ("get", "pods"),
            ("create", "configmaps"),
            ("delete", "configmaps"),
            ("patch", "deployments/scale"),
            ("get", "pods/log"),
            ("get", "pods/exec"),
        }

        def nothing_is_missing() -> bool:
            missing = expected - watching.heard(space.name)
            assert not missing, f"{missing}, heard {watching.heard(space.name)}"
            return True

        await eventually(nothing_is_missing, within=15)
        seen = watching.signal.activity(space.name)
        assert seen is not None
        assert seen.touch is not None
        assert seen.touch.actor is ActorClass.HUMAN


async def test_the_policy_drops_noise(
    watching: Watching, cluster: Cluster, space: LiveSpace
) -> None:
    async with watching.listening():
        await watching.until_it_sees()
        watching.events.clear()
        await space.create(deployment("web"))
        await eventually(space.ready_pods)
        await kubectl(cluster, "get", "namespace", space.name, identity="alice")
        await kubectl(cluster, "get", "pods", "-A", identity="admin")
        await kubectl(cluster, "get", "configmaps", "-n", space.name, identity="alice")
        await eventually(lambda: ("list", "configmaps") in watching.heard(space.name), within=15)
    assert ("get", "namespaces") not in watching.heard(space.name)
    for event in watching.events:
        assert event.object_ref is not None, "health checks and the like"
        assert event.verb != "watch"
        assert event.object_ref.resource != "leases"
        assert event.object_ref.namespace not in {"", "kube-system"}
        assert not event.user.username.startswith(
            ("system:kube-", "system:node", "system:apiserver")
        )
        if event.user.username.startswith("system:serviceaccount:sleeper-system"):
            assert (event.verb, event.object_ref.resource) == ("get", "serviceaccounts")


async def test_a_persons_touch_is_told_within_moments(
    watching: Watching, cluster: Cluster, space: LiveSpace
) -> None:
    async with watching.listening():
        await watching.until_it_sees()
        watching.told.clear()
        await kubectl(cluster, "get", "pods", "-n", space.name, identity="alice")
        await eventually(
            lambda: any(name == space.name for name, _ in watching.told), within=3, every=0.02
        )


async def test_while_the_sink_is_away_the_signal_is_unknown_and_losses_are_a_gap(
    watching: Watching, cluster: Cluster, space: LiveSpace
) -> None:
    async with watching.listening():
        await watching.until_it_sees()
    stopped_at = watching.view.watermark
    await kubectl(cluster, "get", "pods", "-n", space.name, identity="alice")
    away_since = watching.clock.now()
    await eventually(lambda: watching.view.unknown_because == Blindness.CANARY_MISSING, within=20)
    mark = watching.view.watermark
    assert mark is not None
    assert stopped_at is not None
    assert mark < away_since

    def loss_was_read() -> bool:
        gap_end = watching.view.last_gap_end
        return gap_end is not None and gap_end > away_since

    await eventually(loss_was_read, within=20, what="the API server gave up and counted it")
    async with watching.listening():
        await watching.until_it_sees()


async def test_a_restarted_api_server_is_a_gap(watching: Watching, cluster: Cluster) -> None:
    async with watching.listening():
        await watching.until_it_sees()
        before = watching.clock.now()
        await asyncio.to_thread(cluster.component("kube-apiserver").restart)

        def is_gap() -> bool:
            gap_end = watching.view.last_gap_end
            return gap_end is not None and gap_end > before

        await eventually(is_gap, within=30)
        await watching.until_it_sees()
