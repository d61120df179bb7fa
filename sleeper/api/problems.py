"""Errors of the read API as ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import structlog
from aiohttp import web

from billing.errors import BillingError
from sleeper.errors import NotReadyError, StoreError

_log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Problem(Exception):  # noqa: N818 the word of the RFC
    """Ends a request with a status and one sentence."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@web.middleware
async def problems_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error of a request into an answer that a program can read."""
    try:
        return await handler(request)
    except Problem as problem:
        return _answer(problem.status, problem.detail)
    except BillingError as error:
        return _answer(HTTPStatus.BAD_REQUEST, str(error))
    except (NotReadyError, StoreError) as error:
        return _answer(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
    except web.HTTPException as error:
        return _answer(HTTPStatus(error.status), error.reason)
    except Exception:  # noqa: BLE001 one request's failure is not the daemon's
        _log.exception("request_failed", path=request.path)
        return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, "this is a bug; the log says more")


def _answer(status: HTTPStatus, detail: str) -> web.Response:
    return web.Response(
        status=status,
        text=json.dumps({"title": status.phrase, "status": status.value, "detail": detail}) + "\n",
        content_type="application/problem+json",
    )
