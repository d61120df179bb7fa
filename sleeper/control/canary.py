"""What we ask of one API server to know what its audit stream is worth: canaries, loss counters.

A canary is a GET of our own ServiceAccount with an ``Audit-ID`` of our choosing; the API server
uses that id in the event. It is registered in the database before it is sent, so that any replica
whose sink the event reaches can recognise it. It proves the pipe, not the policy.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping
from typing import Final, Protocol

import msgspec
import structlog

from metrics import store
from metrics.core.audit import STREAMS
from metrics.core.clock import Clock
from metrics.core.watermark import LossReading
from sleeper.control.intake import CANARY_PREFIX
from sleeper.core.names import GROUP
from sleeper.errors import SleeperError
from sleeper.store.engine import Database

ERRORS_FAMILY: Final = b"apiserver_audit_error_total"
"""Events that an audit backend dropped, by ``plugin`` (``buffered``, ``webhook``, ``truncate``)."""

LOG_PLUGIN: Final = b'plugin="log"'
"""A full disk under the audit *log* loses nothing of what is sent to us."""

EVENTS_FAMILY: Final = b"apiserver_audit_event_total"
"""Always present where auditing is compiled in, so it tells our text from any other."""

STARTED_FAMILY: Final = b"process_start_time_seconds"

OPEN_FAMILY: Final = b"apiserver_longrunning_requests"
"""Long requests that are served now, watches included; stable since Kubernetes 1.20 or before."""

SERVICE_ACCOUNT: Final = "sleeper"

_log = structlog.get_logger(__name__)


class CounterError(SleeperError):
    """The text of ``/metrics`` does not hold the loss counters."""


class ApiServerClient(Protocol):
    """What is needed of a client that talks to one single API server, not to a load balancer.

    Both calls raise a SleeperError unless the answer is 2xx.
    """

    async def get(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> bytes:
        """GET."""
        ...

    async def create(self, path: str, body: object) -> bytes:
        """Body of the answer to a POST."""
        ...


class _UserInfo(msgspec.Struct, frozen=True):
    username: str


class _ReviewStatus(msgspec.Struct, frozen=True, rename="camel"):
    user_info: _UserInfo


class _SelfSubjectReview(msgspec.Struct, frozen=True):
    status: _ReviewStatus


async def own_user_name(client: ApiServerClient) -> str:
    """The user name that the API server knows us by.

    Raises:
        SleeperError: the API server does not answer, or not in the expected form.
    """
    answer = await client.create(
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
    )
    try:
        review = msgspec.json.decode(answer, type=_SelfSubjectReview)
    except msgspec.MsgspecError as error:
        raise SleeperError(f"the API server's SelfSubjectReview cannot be read: {error}") from error
    return review.status.user_info.username


class Probe:
    """Canaries and loss readings of one API server.

    Args:
        apiserver: its name, as in its audit webhook's URL.
        client: a client of it alone.
        namespace: our own namespace, in which the canary's ServiceAccount lives.
        timeout_seconds: of each request.
    """

    def __init__(
        self,
        *,
        apiserver: str,
        client: ApiServerClient,
        namespace: str,
        database: Database,
        clock: Clock,
        timeout_seconds: float,
    ) -> None:
        self.apiserver = apiserver
        self.client = client
        self._path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{SERVICE_ACCOUNT}"
        self._database = database
        self._clock = clock
        self._timeout = timeout_seconds
        self._said_uncounted = False

    async def send_canary(self) -> None:
        """Register and send one canary.

        Raises:
            SleeperError: the request failed; its event may come all the same.
        """
        audit_id = f"{CANARY_PREFIX}{uuid.uuid4()}"
        sent_at = self._clock.now()
        async with self._database.begin() as connection:
            await store.register_canary(
                connection, audit_id=audit_id, apiserver=self.apiserver, sent_at=sent_at
            )
        await self.client.get(
            self._path, headers={"Audit-ID": audit_id}, timeout_seconds=self._timeout
        )
        answered_at = self._clock.now()
        async with self._database.begin() as connection:
            await store.canary_answered(connection, audit_id=audit_id, answered_at=answered_at)

    async def read_losses(self) -> LossReading:
        """Read the loss counters.

        Raises:
            SleeperError: they cannot be had.
        """
        sent_at = self._clock.now()
        text = await self.client.get("/metrics", timeout_seconds=self._timeout)
        received_at = self._clock.now()
        lost, process_started = parse_counters(text)
        open_now = parse_open_streams(text)
        if open_now is None and not self._said_uncounted:
            self._said_uncounted = True
            _log.warning(
                "streams_not_counted",
                apiserver=self.apiserver,
                why=f"its /metrics has no {OPEN_FAMILY.decode()}: a stream that was opened while "
                "nobody listened holds nothing",
            )
        return LossReading(
            sent_at=sent_at,
            received_at=received_at,
            lost=lost,
            process_started=process_started,
            open=open_now,
        )


def parse_counters(text: bytes) -> tuple[float, float]:
    """Lost events and the start time of the process (Unix seconds) from ``/metrics``.

    The text has megabytes on a large cluster, so only the lines in question are looked at.

    Raises:
        CounterError: it is not the metrics of an API server with auditing.
    """
    events = _samples(text, EVENTS_FAMILY)
    started = _samples(text, STARTED_FAMILY)
    if not events or len(started) != 1:
        raise CounterError(
            f"/metrics lacks {EVENTS_FAMILY.decode()} or {STARTED_FAMILY.decode()}: "
            f"is this an API server's own address? ({GROUP} needs each one by itself)"
        )
    errors = _samples(text, ERRORS_FAMILY)
    lost = sum(value for labels, value in errors if LOG_PLUGIN not in labels)
    return lost, started[0][1]


def parse_open_streams(text: bytes) -> dict[str, int] | None:
    """How many streams of each kind are open, from ``/metrics``; None: it does not tell.

    Watches are long requests, too, so there is no API server without any sample.
    """
    try:
        samples = _samples(text, OPEN_FAMILY)
    except CounterError:
        return None
    if not samples:
        return None
    found: dict[str, int] = {}
    for labels, value in samples:
        told = dict(_LABEL.findall(labels))
        kind = (told.get(b"resource", b"").decode(), told.get(b"subresource", b"").decode())
        if kind in STREAMS and not told.get(b"group"):
            name = "/".join(kind)
            found[name] = found.get(name, 0) + max(0, int(value))
    return found


_LABEL: Final = re.compile(rb'(\w+)="([^"\\]*)"')


def _samples(text: bytes, family: bytes) -> list[tuple[bytes, float]]:
    """Labels and value of each sample of a family in the Prometheus text format."""
    samples: list[tuple[bytes, float]] = []
    start = 0
    while (at := text.find(family, start)) >= 0:
        end = text.find(b"\n", at)
        line = text[at : end if end >= 0 else len(text)]
        start = at + len(line)
        is_line_start = at == 0 or text[at - 1 : at] == b"\n"
        rest = line[len(family) :]
        if not is_line_start or rest[:1] not in {b"{", b" "}:
            continue
        labels, _, value = rest.rpartition(b" ")
        try:
            number = float(value)
        except ValueError as error:
            raise CounterError(f"/metrics has a sample without a number: {line!r}") from error
        if not math.isfinite(number):  # it would equal nothing, or for ever itself
            raise CounterError(f"/metrics has a sample without a number: {line!r}")
        samples.append((labels, number))
    return samples
