"""Prometheus behind one port; the only module that imports ``prometheus_api_client``.

That library is synchronous, so its calls run in a few threads of our own, each with its own
session. It returns the result alone: warnings (an answer that may be partial) are read from the
response by a session hook. Its own retries are switched off, because the caller polls again anyway
and must learn of a failure at once.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, Self

import msgspec
import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util.retry import Retry

from metrics.core.traffic import Sample, Series
from metrics.errors import (
    PrometheusDownError,
    PrometheusGarbledError,
    PrometheusPartialError,
    PrometheusRefusedError,
)

THREADS = 2
"""One to work, one for when a slow answer holds the first."""

SHOWN = 300
"""Characters of an answer that an error shows."""


class PromQuery(Protocol):
    """Instant queries; every failure is a :class:`metrics.errors.PrometheusError`."""

    async def scalar(self, query: str) -> float:
        """The value of a scalar expression, evaluated at Prometheus's present."""
        ...

    async def vector(self, query: str, *, at: float) -> tuple[Series, ...]:
        """The one sample of each series at the instant ``at`` (Prometheus's clock)."""
        ...

    async def matrix(self, query: str, *, at: float) -> tuple[Series, ...]:
        """The raw samples of each series in the range that ends at ``at``."""
        ...


class _Notes(msgspec.Struct, frozen=True):
    """The part of an answer that the library drops."""

    warnings: tuple[str, ...] = ()


class Prometheus:
    """One Prometheus server (or anything that speaks its query API); implements PromQuery."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        self._url = url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="prometheus")
        self._local = threading.local()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the threads back; a query under way ends by itself, within its timeout."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def scalar(self, query: str) -> float:
        """See :class:`PromQuery`."""
        answer = await self._ask(query, {})
        try:
            return _number(answer[1])
        except (IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise _garbled(query, answer) from error

    async def vector(self, query: str, *, at: float) -> tuple[Series, ...]:
        """See :class:`PromQuery`."""
        answer = await self._ask(query, {"time": _instant(at)})
        return _series(query, answer, lambda item: [item["value"]])

    async def matrix(self, query: str, *, at: float) -> tuple[Series, ...]:
        """See :class:`PromQuery`."""
        answer = await self._ask(query, {"time": _instant(at)})
        return _series(query, answer, lambda item: item["values"])

    async def _ask(self, query: str, params: Mapping[str, str]) -> Any:
        """The ``result`` of an instant query.

        The limit here is wider than the HTTP timeout, which bounds the connection and each wait
        for bytes, but not an answer that trickles.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(2 * self._timeout_seconds):
                return await loop.run_in_executor(self._threads, self._ask_now, query, params)
        except TimeoutError as error:
            raise PrometheusDownError(
                f"no whole answer within {2 * self._timeout_seconds:.0f} s"
            ) from error

    def _ask_now(self, query: str, params: Mapping[str, str]) -> Any:
        connection, notes = self._connection()
        notes.clear()
        try:
            result = connection.custom_query(query, params=dict(params))
        except requests.exceptions.JSONDecodeError as error:
            raise PrometheusGarbledError(f"the answer to {query} is not JSON") from error
        except requests.exceptions.RequestException as error:
            raise PrometheusDownError(str(error)[:SHOWN]) from error
        except PrometheusApiClientException as error:
            raise PrometheusRefusedError(str(error)[:SHOWN]) from error
        except (KeyError, TypeError) as error:
            raise PrometheusGarbledError(f"the answer to {query} holds no result") from error
        if notes:
            raise PrometheusPartialError("; ".join(notes)[:SHOWN])
        return result

    def _connection(self) -> tuple[PrometheusConnect, list[str]]:
        """This thread's own session, and the list that its hook writes warnings to."""
        known: tuple[PrometheusConnect, list[str]] | None = getattr(self._local, "connection", None)
        if known is None:
            notes: list[str] = []
            session = requests.Session()
            session.hooks["response"].append(lambda response, **_: _note(response, notes))
            known = (
                PrometheusConnect(
                    url=self._url,
                    session=session,
                    retry=Retry(total=0, raise_on_status=False),
                    timeout=self._timeout_seconds,
                ),
                notes,
            )
            self._local.connection = known
        return known


def _note(response: requests.Response, notes: list[str]) -> None:
    try:
        notes.extend(msgspec.json.decode(response.content, type=_Notes).warnings)
    except msgspec.DecodeError:
        return  # not an answer of the query API: its status, or the library, says so


def _series(query: str, answer: Any, values: Any) -> tuple[Series, ...]:
    try:
        return tuple(
            Series(labels=item["metric"], samples=tuple(_samples(values(item)))) for item in answer
        )
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise _garbled(query, answer) from error


def _samples(pairs: Iterable[tuple[float, str]]) -> Iterable[Sample]:
    return (Sample(_number(at), float(value)) for at, value in pairs)


def _number(value: Any) -> float:
    """A finite one: instants, unlike the values of samples, are nothing else."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is no number")
    return number


def _garbled(query: str, answer: object) -> PrometheusGarbledError:
    return PrometheusGarbledError(f"unexpected answer to {query}: {str(answer)[:SHOWN]}")


def _instant(at: float) -> str:
    return f"{at:.3f}"
