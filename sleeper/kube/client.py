"""The one way to the API server: every call has a deadline, every status is checked.

Bodies are bytes and are decoded by the callers. Retries follow from one question: may the request
have been executed? A read never matters, so it is retried on 429, 5xx and lost connections until
its deadline. A write is retried only where it was surely not executed (429, no connection, 401
before fresh credentials); everything else raises :class:`~sleeper.kube.errors.OutcomeUnknown`,
and the caller looks before it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgspec
from kubernetes_asyncio.client import Configuration

from metrics.core.clock import Clock
from sleeper.core.jsonpatch import JsonOp
from sleeper.core.names import FIELD_MANAGER
from sleeper.errors import ConfigError
from sleeper.kube.backoff import Backoff
from sleeper.kube.credentials import Credentials, FixedCredentials
from sleeper.kube.errors import KubeTimeout, Throttled, Unauthorized, Unavailable, Undecodable
from sleeper.kube.transport import (
    JSON,
    JSON_PATCH,
    MERGE_PATCH,
    CredentialSource,
    Request,
    Transport,
    encode,
)

READ_DEADLINE_FACTOR: Final = 3
"""A read may take this many request timeouts in all, retries included."""

_FIRST_RETRY_SECONDS: Final = 0.2
_SLOWEST_RETRY_SECONDS: Final = 5.0
_SHORTEST_ATTEMPT_SECONDS: Final = 0.05

_SMALLEST_PAGE: Final = 8
"""Objects; at most 1.5 MB each."""

_PAGES_BEFORE_LARGER: Final = 8
"""After one that did not come: so many in time, and the next is twice as large."""

Params = Mapping[str, str]


class _ListMeta(msgspec.Struct, frozen=True):
    continue_: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct, frozen=True):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)


_PAGE: Final = msgspec.json.Decoder(_Page)


class KubeClient:
    """Client of one API server; use as an async context manager.

    Paths are absolute (``/api/v1/namespaces/…``) and already escaped. Every method raises a
    :class:`~sleeper.kube.errors.KubeError` unless the answer is 2xx.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        credentials: CredentialSource,
        clock: Clock,
        user_agent: str,
        request_timeout_seconds: float,
    ) -> None:
        self._clock = clock
        self._request_timeout = request_timeout_seconds
        self._transport = Transport(
            configuration,
            credentials=credentials,
            user_agent=user_agent,
            connect_timeout_seconds=request_timeout_seconds,
        )

    @classmethod
    async def connect(
        cls,
        *,
        kubeconfig: Path | None,
        context: str | None = None,
        server: str | None = None,
        clock: Clock,
        user_agent: str,
        request_timeout_seconds: float = 10.0,
    ) -> Self:
        """A client as kubeconfig (or, without one, the Pod's ServiceAccount) describes it.

        Nothing is sent yet. ``server`` replaces the URL of the configuration.

        Raises:
            ConfigError: the configuration cannot be read.
        """
        credentials = Credentials(kubeconfig=kubeconfig, context=context, server=server)
        configuration = await credentials.load()
        try:
            return cls(
                configuration,
                credentials=credentials,
                clock=clock,
                user_agent=user_agent,
                request_timeout_seconds=request_timeout_seconds,
            )
        except OSError as error:
            raise ConfigError(f"cannot use the certificates of {credentials}: {error}") from error

    @classmethod
    async def connect_to(
        cls,
        url: str,
        *,
        clock: Clock,
        user_agent: str,
        token: str | None = None,
        ca_file: Path | None = None,
        request_timeout_seconds: float = 10.0,
    ) -> Self:
        """A client of the server at ``url``. Nothing is sent yet."""
        credentials = FixedCredentials(url, token=token, ca_file=ca_file)
        return cls(
            await credentials.load(),
            credentials=credentials,
            clock=clock,
            user_agent=user_agent,
            request_timeout_seconds=request_timeout_seconds,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the session and its connections."""
        await self._transport.close()

    @property
    def request_timeout_seconds(self) -> float:
        """Longest that one write can take to give an answer, its safe retries included."""
        return self._request_timeout

    # reads

    async def get(
        self,
        path: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> bytes:
        """Body of a GET.

        Args:
            path: absolute path.
            params: query parameters.
            headers: further request headers.
            timeout_seconds: deadline of the whole call; by default three request timeouts.
        """
        request = Request(method="GET", path=path, params=params or {}, headers=headers or {})
        deadline = timeout_seconds or self._request_timeout * READ_DEADLINE_FACTOR
        return await self._send(request, deadline_seconds=deadline)

    async def pages(
        self, path: str, *, params: Params | None = None, page_size: int = 500
    ) -> AsyncGenerator[bytes]:
        """Bodies of the pages of one list, all at one resource version.

        A page that does not come in time is asked for again in smaller pieces: whoever may create
        objects can make them so large that a page of the usual size never comes.

        Raises:
            Gone: the list took longer than the server keeps that version; begin again.
        """
        query = {**(params or {}), "limit": str(page_size)}
        size, in_time = page_size, 0
        while True:
            query["limit"] = str(size)
            try:
                body = await self.get(
                    path,
                    params=query,
                    timeout_seconds=self._request_timeout if size > _SMALLEST_PAGE else None,
                )
            except KubeTimeout:
                if size <= _SMALLEST_PAGE:
                    raise
                size, in_time = max(_SMALLEST_PAGE, size // 4), 0
                continue
            in_time += 1
            if size < page_size and in_time == _PAGES_BEFORE_LARGER:
                size, in_time = min(page_size, 2 * size), 0
            yield body
            try:
                token = _PAGE.decode(body).metadata.continue_
            except msgspec.MsgspecError as error:
                raise Undecodable(f"not a list: {error}", path=path) from error
            if not token:
                return
            query["continue"] = token

    async def watch(
        self,
        path: str,
        *,
        resource_version: str,
        timeout_seconds: float,
        silence_seconds: float | None = None,
        params: Params | None = None,
    ) -> AsyncGenerator[bytes]:
        """Lines of one watch until the server ends it; close it with ``aclosing``.

        The first item is empty: the server has accepted the watch.

        Args:
            path: the list to watch.
            resource_version: changes after this one are sent.
            timeout_seconds: the server ends the watch after this time.
            silence_seconds: after so long without a byte the connection is taken for dead; by
                default the server's own time and one request timeout.
            params: further query parameters.

        Raises:
            Gone: the resource version is no longer kept; most servers accept the watch and say
                so in its first line, an event of type ERROR.
            KubeTimeout: the server did not accept it in time, or the stream fell silent.
        """
        query = {
            **(params or {}),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, round(timeout_seconds))),
        }
        request = Request(method="GET", path=path, params=query)
        silence = silence_seconds or timeout_seconds + self._request_timeout
        async with self._transport.stream(
            request, accept_seconds=self._request_timeout, silence_seconds=silence
        ) as lines:
            yield b""
            async for line in lines:
                yield line

    # writes; each is given up after one request timeout, its safe retries included

    async def create(
        self, path: str, body: object, *, timeout_seconds: float | None = None
    ) -> bytes:
        """POST to a collection; the created object.

        Raises:
            AlreadyExists: the name is taken.
        """
        return await self._write("POST", path, body, JSON, timeout_seconds)

    async def json_patch(
        self, path: str, ops: Sequence[JsonOp], *, timeout_seconds: float | None = None
    ) -> bytes:
        """Apply all operations or none; the patched object.

        Raises:
            TestFailed: the object is not as the patch expects it.
        """
        return await self._write(
            "PATCH", path, [_wire(op) for op in ops], JSON_PATCH, timeout_seconds
        )

    async def merge_patch(
        self, path: str, body: object, *, timeout_seconds: float | None = None
    ) -> bytes:
        """JSON merge patch: named members are set, None removes. The patched object."""
        return await self._write("PATCH", path, body, MERGE_PATCH, timeout_seconds)

    async def delete(
        self, path: str, *, uid: str | None = None, resource_version: str | None = None
    ) -> None:
        """Delete one object, only while it is the one with this uid and resource version.

        Raises:
            Conflict: it is another one by now.
        """
        conditions = {"uid": uid, "resourceVersion": resource_version}
        preconditions = {key: value for key, value in conditions.items() if value is not None}
        body = {"kind": "DeleteOptions", "apiVersion": "v1"} | (
            {"preconditions": preconditions} if preconditions else {}
        )
        await self._write("DELETE", path, body, JSON)

    async def _write(
        self,
        method: str,
        path: str,
        body: object,
        content_type: str,
        timeout_seconds: float | None = None,
    ) -> bytes:
        deadline = timeout_seconds or self._request_timeout
        # bounds how long a request that we gave up on can linger inside the server
        params = {"timeout": f"{max(1, round(deadline))}s"}
        if method != "DELETE":
            params["fieldManager"] = FIELD_MANAGER
        request = Request(
            method=method, path=path, params=params, body=encode(body), content_type=content_type
        )
        return await self._send(request, deadline_seconds=deadline)

    async def _send(self, request: Request, *, deadline_seconds: float) -> bytes:
        """Send, and send again what may be sent again, until the deadline."""
        deadline = self._clock.monotonic() + deadline_seconds
        backoff = Backoff(
            initial_seconds=_FIRST_RETRY_SECONDS, maximum_seconds=_SLOWEST_RETRY_SECONDS
        )
        renewed = False
        while True:
            used = await self._transport.authorization()
            try:
                return await self._transport.call(
                    request,
                    timeout_seconds=max(
                        _SHORTEST_ATTEMPT_SECONDS,
                        min(self._request_timeout, deadline - self._clock.monotonic()),
                    ),
                )
            except Unauthorized:
                if renewed:
                    raise
                renewed = True
                await self._transport.renew_credentials(refused=used)
                delay = 0.0
            except (Throttled, Unavailable) as error:
                delay = backoff.next_delay()
                if isinstance(error, Throttled):
                    delay = max(delay, error.retry_after_seconds or 0.0)
                if self._clock.monotonic() + delay >= deadline:
                    raise
            await asyncio.sleep(delay)


def _wire(op: JsonOp) -> dict[str, Any]:
    wire: dict[str, Any] = {"op": op.op, "path": op.path}
    if op.op != "remove":
        wire["value"] = op.value
    return wire
