"""The composition root: builds every part of ``sleeper run``, once, in the order of their needs.

Parts are entered into one stack; leaving it stops them in reverse: first the loop (no new
decision), then the edges (no new event), then the signals' last flush, the meter's, the Lease, the
watches, the database. Each long-running part is a task of one task group: if one breaks, all end
and the process exits with an error, because a daemon that has lost a part sees less than it thinks.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import structlog

from metrics.core.audit import AuditRules
from metrics.core.clock import Clock
from metrics.core.signals import SignalName
from metrics.core.steps import TimeLine
from metrics.core.traffic_providers import PROVIDERS
from metrics.core.watermark import SightLimits
from metrics.instruments import PrometheusRecorder
from metrics.sources.prometheus import Prometheus
from sleeper import __version__
from sleeper.api.app import build_app, serve_app
from sleeper.api.listening import listening
from sleeper.api.sink import AuditSink, Authenticator, SinkLimits, serve, tls_context
from sleeper.config import Config, LoadedConfig
from sleeper.control.assess import Assessor
from sleeper.control.audit import ApiSignal, ApiSignalSettings
from sleeper.control.book import SpaceBook
from sleeper.control.bookkeeping import Bookkeeper
from sleeper.control.dispatch import Pacing
from sleeper.control.flight_result import FlightSettings
from sleeper.control.flights import Flights
from sleeper.control.herald import Herald
from sleeper.control.inquiry import Inquiry
from sleeper.control.janitor import Janitor
from sleeper.control.jobs import Jobs, Retention, checkpoint_job, retention_job
from sleeper.control.loop import VerdictLoop
from sleeper.control.metering import Meter, MeterSettings
from sleeper.control.signals import Signal, SignalBoard
from sleeper.control.traffic import TrafficSettings, TrafficSignal
from sleeper.core import names
from sleeper.core.protection import Protection
from sleeper.core.space import tenant_of
from sleeper.errors import SleeperError
from sleeper.kube.client import KubeClient
from sleeper.kube.events import EventRecorder
from sleeper.kube.inventory import Inventory
from sleeper.kube.lease import Elector, LeaseTiming
from sleeper.kube.records import RecordStore
from sleeper.store import spaces as space_states
from sleeper.store.engine import Database
from sleeper.telemetry.clock import SystemClock

log = structlog.get_logger(__name__)

USER_AGENT = f"{names.USER_AGENT}/{__version__}"


async def run(loaded: LoadedConfig) -> None:
    """Run until SIGTERM or SIGINT, then stop in order.

    Raises:
        ConfigError: a setting cannot be used on this machine.
        StoreError: the database cannot be used.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    clock = SystemClock()
    try:
        async with AsyncExitStack() as stack:
            await Daemon(loaded, clock, stack).start()
            log.info("running", version=__version__, mode=loaded.config.mode)
            await stopped.wait()
            log.info("stopping")
    except BaseExceptionGroup as group:
        raise _cause(group) from group
    log.info("stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cluster:
    """Everything that speaks to Kubernetes.

    Attributes:
        client: for watching, and for sleeping and waking.
        telling: for annotations and Events; however many there are, no wake waits for them.
        inventory: the watched objects.
        records: the sleep records.
        elector: the Lease; it has a client of its own.
        events: who records Events.
    """

    client: KubeClient
    telling: KubeClient
    inventory: Inventory
    records: RecordStore
    elector: Elector
    events: EventRecorder


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doors:
    """Sockets that listen.

    Attributes:
        sink: of the audit sink; None: the API signal is switched off.
        api: of the read API.
    """

    sink: socket.socket | None
    api: socket.socket


class Daemon:
    """All parts, wired. :meth:`start` enters them into the stack; leaving the stack stops them."""

    def __init__(self, loaded: LoadedConfig, clock: Clock, stack: AsyncExitStack) -> None:
        config = loaded.config
        self._config = config
        self._policy_defaults = loaded.policy_defaults
        self._clock = clock
        self._line = TimeLine(clock, limit=timedelta(seconds=config.max_clock_step_seconds))
        self._stack = stack
        self._recorder = PrometheusRecorder(clock)
        self._identity = config.lease.identity or f"{socket.gethostname()}-{secrets.token_hex(4)}"

    async def start(self) -> None:
        """Bring everything up; returns once every part runs."""
        # Before anything else: a replica that cannot be heard or asked must not lead.
        doors = self._open_doors()
        database = await self._stack.enter_async_context(
            await Database.open(self._config.database.url)
        )
        cluster = await self._start_cluster()
        meter = Meter(
            inventory=cluster.inventory,
            database=database,
            leading=lambda: cluster.elector.leading,
            clock=self._clock,
            recorder=self._recorder,
            settings=MeterSettings(max_clock_step_seconds=self._config.max_clock_step_seconds),
        )
        await self._run("meter", meter.run())
        await self._run("jobs", self._jobs(database, cluster).run())
        api_signal = await self._start_api_signal(database, cluster, doors.sink)
        traffic = await self._start_traffic_signal(database, cluster)
        await self._start_loop(database, cluster, meter, api_signal, traffic, doors.api)

    def _open_doors(self) -> _Doors:
        sink, api = self._config.api_signal, self._config.api
        return _Doors(
            sink=self._stack.enter_context(listening(sink.listen, sink.port, section="api_signal"))
            if sink.enabled
            else None,
            api=self._stack.enter_context(listening(api.listen, api.port, section="api")),
        )

    # -- Kubernetes -----------------------------------------------------------------------------

    async def _client(self, server: str | None = None) -> KubeClient:
        kubernetes = self._config.kubernetes
        client = await KubeClient.connect(
            kubeconfig=kubernetes.kubeconfig,
            server=server,
            clock=self._clock,
            user_agent=USER_AGENT,
            request_timeout_seconds=kubernetes.request_timeout_seconds,
        )
        return await self._stack.enter_async_context(client)

    async def _start_cluster(self) -> _Cluster:
        config = self._config
        client = await self._client()
        inventory = Inventory(client, clock=self._clock, recorder=self._recorder)
        records = RecordStore(
            client, namespace=config.namespace, clock=self._clock, recorder=self._recorder
        )
        lease = config.lease
        # On connections of its own: whatever the others wait for, the Lease is renewed.
        elector = Elector(
            await self._client(),
            namespace=config.namespace,
            name=lease.name,
            identity=self._identity,
            timing=LeaseTiming(
                duration_seconds=lease.duration_seconds,
                renew_deadline_seconds=lease.renew_deadline_seconds,
                retry_period_seconds=lease.retry_period_seconds,
                request_timeout_seconds=config.kubernetes.request_timeout_seconds,
            ),
            clock=self._clock,
            recorder=self._recorder,
        )
        await self._run("inventory", inventory.run())
        await self._run("records", records.run())
        await self._run("elector", elector.run())
        telling = await self._client()
        events = EventRecorder(
            telling, instance=self._identity, clock=self._clock, recorder=self._recorder
        )
        return _Cluster(
            client=client,
            telling=telling,
            inventory=inventory,
            records=records,
            elector=elector,
            events=events,
        )

    # -- signals --------------------------------------------------------------------------------

    async def _start_api_signal(
        self, database: Database, cluster: _Cluster, door: socket.socket | None
    ) -> ApiSignal | None:
        config = self._config.api_signal
        if door is None:
            return None
        inventory = cluster.inventory

        def is_space(name: str) -> bool:
            if not inventory.synced:
                return True  # nobody knows yet, and what is dropped now is lost
            objects = inventory.space(name)
            return objects is not None and tenant_of(objects.namespace) is not None

        def pod_is_gone(space: str, pod: str) -> bool:
            if not inventory.synced or inventory.space(space) is None:
                return False
            return not inventory.has_pod(space, pod)

        api_signal = ApiSignal(
            ApiSignalSettings(
                limits=SightLimits(
                    retry_horizon=timedelta(seconds=config.retry_horizon_seconds),
                    canary_timeout=timedelta(seconds=config.canary_timeout_seconds),
                    max_clock_offset=timedelta(seconds=config.max_clock_offset_seconds),
                    max_clock_step=timedelta(seconds=self._config.max_clock_step_seconds),
                ),
                flush_interval=timedelta(seconds=config.flush_interval_seconds),
                canary_interval=timedelta(seconds=config.canary_interval_seconds),
                request_timeout_seconds=self._config.kubernetes.request_timeout_seconds,
                stream_bound=timedelta(seconds=config.stream_max_seconds),
                identity=self._identity,
                namespace=self._config.namespace,
            ),
            apiservers={
                server.name: await self._client(server.url) for server in config.apiservers
            },
            rules=AuditRules(
                own_agent=names.USER_AGENT,
                deployers=config.deployer_users,
                discounted_agents=config.discount_user_agents,
            ),
            is_space=is_space,
            pod_is_gone=pod_is_gone,
            database=database,
            line=self._line,
            clock=self._clock,
            recorder=self._recorder,
        )
        await api_signal.start()
        self._stack.push_async_callback(api_signal.close)
        await self._run("api-signal", api_signal.run())
        assert config.tls_cert is not None
        assert config.tls_key is not None
        sink = AuditSink(
            api_signal.intake,
            authenticator=Authenticator(token_file=config.token_file),
            apiservers=frozenset(server.name for server in config.apiservers),
            clock=self._clock,
            recorder=self._recorder,
            limits=SinkLimits(),
        )
        tls = tls_context(
            certificate=config.tls_cert, key=config.tls_key, client_ca=config.client_ca
        )
        await self._stack.enter_async_context(serve(sink, door, tls=tls))
        return api_signal

    async def _start_traffic_signal(
        self, database: Database, cluster: _Cluster
    ) -> TrafficSignal | None:
        config = self._config.traffic_signal
        if config.prometheus_url is None:
            return None
        traffic = TrafficSignal(
            provider=PROVIDERS[config.provider],
            query=await self._stack.enter_async_context(
                Prometheus(config.prometheus_url, timeout_seconds=config.timeout_seconds)
            ),
            spaces=cluster.inventory,
            database=database,
            line=self._line,
            clock=self._clock,
            recorder=self._recorder,
            settings=TrafficSettings(
                poll_interval_seconds=config.poll_interval_seconds,
                stale_after_seconds=config.stale_after_seconds,
                backfill_seconds=config.backfill_seconds,
                max_clock_offset_seconds=self._config.api_signal.max_clock_offset_seconds,
                max_clock_step_seconds=self._config.max_clock_step_seconds,
            ),
        )
        await traffic.start()
        await self._run("traffic-signal", traffic.run())
        return traffic

    # -- deciding and showing -------------------------------------------------------------------

    async def _start_loop(
        self,
        database: Database,
        cluster: _Cluster,
        meter: Meter,
        api_signal: ApiSignal | None,
        traffic: TrafficSignal | None,
        door: socket.socket,
    ) -> None:
        signals: dict[SignalName, Signal] = {}
        if api_signal is not None:
            signals[SignalName.API] = api_signal
        if traffic is not None:
            signals[SignalName.TRAFFIC] = traffic
        board = SignalBoard(signals, api_signal)
        async with database.read() as connection:
            book = SpaceBook(await space_states.load(connection), began=self._line.began)
        assessor = Assessor(
            inventory=cluster.inventory,
            records=cluster.records,
            board=board,
            book=book,
            routes=traffic,
            defaults=self._policy_defaults,
            protected_because=Protection(
                own_namespace=self._config.namespace,
                listed=self._config.protected_namespaces,
            ).because,
            sleep_deadline=timedelta(seconds=self._config.sleep.deadline_seconds),
        )
        flights = Flights(
            client=cluster.client,
            records=cluster.records,
            spaces=cluster.inventory,
            clock=self._clock,
            recorder=self._recorder,
            events=cluster.events,
            may_write=cluster.elector.may_write,
            observes=assessor.observes,
            settings=FlightSettings(
                sleep_deadline_seconds=self._config.sleep.deadline_seconds,
                wake_deadline_seconds=self._config.wake.deadline_seconds,
            ),
        )
        loop = VerdictLoop(
            assessor=assessor,
            board=board,
            book=book,
            flights=flights,
            herald=Herald(client=cluster.telling, events=cluster.events, recorder=self._recorder),
            names_of_all=lambda: [n.metadata.name for n in cluster.inventory.namespaces()],
            leading=lambda: cluster.elector.may_write(cluster.client.request_timeout_seconds),
            power_changed=meter.power_changed,
            line=self._line,
            clock=self._clock,
            recorder=self._recorder,
            pacing=Pacing(
                retry_backoff=timedelta(seconds=self._config.sleep.retry_backoff_seconds)
            ),
        )
        cluster.inventory.subscribe(loop.tell)
        cluster.records.subscribe(lambda uid: _tell_owner(loop, cluster.inventory, uid))
        cluster.elector.subscribe(lambda _leading: loop.tell_all())
        board.subscribe([loop.on_activity])
        await self._run(
            "book",
            Bookkeeper(
                book, database, cluster.inventory.by_uid, lambda: cluster.inventory.synced
            ).run(),
        )
        await self._run(
            "janitor",
            Janitor(
                client=cluster.client,
                records=cluster.records,
                namespaces=cluster.inventory,
                leading=lambda: cluster.elector.leading,
            ).run(),
        )
        await self._serve_api(
            loop,
            cluster,
            meter,
            Inquiry(
                assessor,
                cluster.inventory,
                unknown=lambda: (
                    cluster.records.unknown_because() or cluster.inventory.unknown_because()
                ),
                clock=self._clock,
            ),
            door,
        )
        await self._run("loop", _decide(loop, cluster.records))

    async def _serve_api(
        self,
        loop: VerdictLoop,
        cluster: _Cluster,
        meter: Meter,
        inquiry: Inquiry,
        door: socket.socket,
    ) -> None:
        inventory, records = cluster.inventory, cluster.records
        checks: Mapping[str, Callable[[], str | None]] = {
            "inventory": lambda: None if inventory.synced else "; ".join(inventory.unsynced()),
            "records": records.unsynced_because,
        }
        app = build_app(
            spaces=inquiry,
            statements=meter,
            live={"loop": loop.stuck_because},
            ready=checks,
            metrics=self._recorder.aiohttp_handler(),
            clock=self._clock,
        )
        await self._stack.enter_async_context(serve_app(app, door, recorder=self._recorder))

    def _jobs(self, database: Database, cluster: _Cluster) -> Jobs:
        inventory = cluster.inventory

        def namespaces() -> frozenset[str] | None:
            if not inventory.synced:
                return None
            return frozenset(n.metadata.name for n in inventory.namespaces())

        return Jobs(
            (
                checkpoint_job(database),
                retention_job(
                    database, self._clock, namespaces=namespaces, keep=retention(self._config)
                ),
            )
        )

    async def _run(self, name: str, work: Coroutine[object, object, None]) -> None:
        await self._stack.enter_async_context(_running(name, work))


@asynccontextmanager
async def _running(name: str, work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """``work`` runs inside the context and is cancelled, and waited for, at its end.

    If it breaks, whoever is inside the context is cancelled and the error comes out here.
    """
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work, name=name)
        try:
            yield
        finally:
            task.cancel()


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to report: one of ours if there is one, for it has a sentence for people."""
    ours = group.subgroup(SleeperError)
    error: BaseException = group if ours is None else ours
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def retention(config: Config) -> Retention:
    """How long history is kept; no stream that may still hold its Space is forgotten."""
    kept = config.retention
    return Retention(
        meter=kept.meter,
        activity=kept.activity,
        gaps=kept.gaps,
        streams=timedelta(seconds=config.api_signal.stream_max_seconds) + timedelta(days=1),
    )


async def _decide(loop: VerdictLoop, records: RecordStore) -> None:
    """Run the loop once it is known what sleeps; until then, no record does not mean awake."""
    await records.known()
    await loop.run()


def _tell_owner(loop: VerdictLoop, inventory: Inventory, space_uid: str) -> None:
    namespace = inventory.by_uid(space_uid)
    if namespace is not None:
        loop.tell(namespace.metadata.name)
