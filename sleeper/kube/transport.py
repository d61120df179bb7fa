"""One HTTP exchange with the API server: authentication, timeouts, failures in our own words.

kubernetes_asyncio gives configuration, authentication and the HTTP session. Its own request path
is not used: it has no timeouts by default and, for raw answers, does not look at the status.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Protocol

import aiohttp
import msgspec
from aiohttp.helpers import get_env_proxy_for_url
from kubernetes_asyncio.client import ApiClient, Configuration
from yarl import URL

from sleeper.kube.credentials import remove_unpacked_keys
from sleeper.kube.errors import KubeError, KubeTimeout, OutcomeUnknown, Unavailable, error_of

JSON: Final = "application/json"
JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"

_TLS_GOODBYE_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; ``path`` is absolute and already escaped, ``body`` is encoded."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = JSON

    @property
    def is_write(self) -> bool:
        """Whether executing it may change something."""
        return self.method != "GET"


class CredentialSource(Protocol):
    """Where the client's configuration comes from; loaded again after a 401."""

    async def load(self) -> Configuration:
        """The configuration to use from now on."""
        ...


class Transport:
    """Sends requests to one API server; one attempt each, no retries."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        credentials: CredentialSource,
        user_agent: str,
        connect_timeout_seconds: float,
    ) -> None:
        self._configuration = configuration
        self._credentials = credentials
        self._connect_timeout = connect_timeout_seconds
        try:
            self._api = ApiClient(configuration)
            self._session: aiohttp.ClientSession = self._api.rest_client.pool_manager
        finally:
            remove_unpacked_keys()
        # aiohttp sends PUT and DELETE a second time when a kept-alive connection breaks under
        # them; there is no public switch. Such a write is of unknown outcome and ours to judge.
        self._session._retry_connection = False
        # Told to trust the environment it asks a thread for ~/.netrc and for proxies, for each
        # request anew: three quarters of what one costs, and a queue in front of the Lease.
        self._session._trust_env = False
        if configuration.proxy is None:
            with suppress(LookupError):  # the environment names none for this server
                url, login = get_env_proxy_for_url(URL(str(configuration.host)))
                self._session._default_proxy = url
                self._session._default_proxy_auth = login
        self._headers = {"User-Agent": user_agent, "Accept": JSON}

    async def close(self) -> None:
        """Close the session and its connections."""
        await self._api.close()
        # aiohttp does not wait for TLS connections whose request was given up; documented there
        await asyncio.sleep(_TLS_GOODBYE_SECONDS)

    async def call(self, request: Request, *, timeout_seconds: float) -> bytes:
        """Body of a 2xx answer.

        Raises:
            KubeError: anything else; :class:`OutcomeUnknown` where a write may have happened.
        """
        limits = aiohttp.ClientTimeout(
            total=timeout_seconds, sock_connect=min(timeout_seconds, self._connect_timeout)
        )
        async with self._exchange(request, limits) as answer:
            with _lost_answers(request):
                return await answer.read()

    @asynccontextmanager
    async def stream(
        self, request: Request, *, accept_seconds: float, silence_seconds: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Lines of a 2xx answer without an end of its own.

        The context is entered when the server has accepted the request.

        Raises:
            KubeTimeout: not accepted in ``accept_seconds``, or not a byte for ``silence_seconds``.
        """
        limits = aiohttp.ClientTimeout(
            total=None, sock_connect=self._connect_timeout, sock_read=silence_seconds
        )
        async with self._exchange(request, limits, accept_seconds=accept_seconds) as answer:
            yield _lines(answer, request)

    async def renew_credentials(self, *, refused: str | None) -> None:
        """After a 401: read the credentials again unless somebody else just did.

        Args:
            refused: the authorization that the server did not accept.
        """
        if await self.authorization() == refused:
            fresh = await self._credentials.load()
            remove_unpacked_keys()
            self._configuration.api_key = fresh.api_key
            self._configuration.refresh_api_key_hook = fresh.refresh_api_key_hook

    async def authorization(self) -> str | None:
        """The ``Authorization`` header that the next request will carry."""
        value: str | None = await self._configuration.get_api_key_with_prefix("BearerToken")
        return value

    @asynccontextmanager
    async def _exchange(
        self,
        request: Request,
        limits: aiohttp.ClientTimeout,
        *,
        accept_seconds: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {**self._headers, **request.headers}
        if authorization := await self.authorization():
            headers["Authorization"] = authorization
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        url = URL(f"{self._configuration.host}{request.path}", encoded=True)
        with _lost_answers(request):
            async with asyncio.timeout(accept_seconds):
                answer = await self._session.request(
                    request.method,
                    url.update_query(request.params) if request.params else url,
                    data=request.body,
                    headers=headers,
                    timeout=limits,
                    allow_redirects=False,
                    proxy=self._configuration.proxy,
                    proxy_headers=self._configuration.proxy_headers,
                    server_hostname=self._configuration.tls_server_name,
                )
        async with answer:
            if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
                raise await _refusal(answer, request)
            yield answer


async def _lines(answer: aiohttp.ClientResponse, request: Request) -> AsyncIterator[bytes]:
    with _lost_answers(request):
        while line := await answer.content.readline():
            if line := line.strip():
                yield line


async def _refusal(answer: aiohttp.ClientResponse, request: Request) -> KubeError:
    try:
        body = await answer.read()
    except (aiohttp.ClientError, TimeoutError, OSError):
        body = b""  # the status alone says enough
    return error_of(
        answer.status,
        body,
        path=request.path,
        is_write=request.is_write,
        is_json_patch=request.content_type == JSON_PATCH,
        retry_after_seconds=_seconds(answer.headers.get("Retry-After")),
    )


def _seconds(retry_after: str | None) -> float | None:
    """``Retry-After`` in seconds; the API server never sends the date form."""
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() else None


@contextmanager
def _lost_answers(request: Request) -> Iterator[None]:
    """Turn connection failures into ours: what may have been executed, and what surely was not."""
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise Unavailable(
            f"cannot connect: {error}", path=request.path, reason="NoConnection"
        ) from error
    except TimeoutError as error:
        if request.is_write:
            raise OutcomeUnknown(
                "no answer in time", path=request.path, reason="Timeout"
            ) from error
        raise KubeTimeout("no answer in time", path=request.path, reason="Timeout") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # ValueError: aiohttp's word for a line beyond its buffer of 4 MiB
        sentence = f"connection lost: {str(error) or type(error).__name__}"
        broken = OutcomeUnknown if request.is_write else Unavailable
        raise broken(sentence, path=request.path, reason="ConnectionLost") from error


def encode(body: object) -> bytes:
    """A body as JSON."""
    return msgspec.json.encode(body)
