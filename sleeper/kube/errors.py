"""What the API server can answer instead of yes, as one class per thing a caller may do about it.

::

    KubeError                  any other refusal (400, 405, 413, …)
    ├── Unauthorized           401: our credentials are not accepted
    ├── Forbidden              403: RBAC or quota says no; or admission, with any status
    ├── NotFound               404
    ├── Conflict               409: the object moved on since it was read
    ├── AlreadyExists          409: a create found the name taken
    ├── Gone                   410: this resource version or list page is no longer kept
    ├── Invalid                422: the object would be invalid
    ├── TestFailed             422: a JSON Patch does not fit the object as it is now
    ├── Throttled              429, after the retries
    ├── Unavailable            nothing was done: no connection, or 5xx on a read, after the retries
    │   └── KubeTimeout        a read got no answer in time
    ├── OutcomeUnknown         a write may or may not have taken effect; read before going on
    └── Undecodable            an answer that is not what the API promises
"""

# ruff: noqa: N818 - the names are the API's own reasons, as everybody who meets them knows them

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

import msgspec

from sleeper.errors import SleeperError

_MESSAGE_LIMIT: Final = 500
"""Characters of a foreign message that we keep: enough for a person, too little for a flood."""


class KubeError(SleeperError):
    """The API server did not do what it was asked.

    Attributes:
        status: HTTP status, or None where there was no answer.
        reason: the ``reason`` of the Kubernetes Status object, or a word of ours.
        message: one sentence, mostly the server's own.
        path: what was asked for.
    """

    def __init__(
        self, message: str, *, path: str = "", status: int | None = None, reason: str = ""
    ) -> None:
        message = message[:_MESSAGE_LIMIT]
        super().__init__(f"{path}: {message}" if path else message)
        self.status = status
        self.reason = reason
        self.message = message
        self.path = path


class Unauthorized(KubeError):
    """401: our credentials are not accepted."""


class Forbidden(KubeError):
    """403, or whatever status an admission policy or webhook chose for its denial."""

    @property
    def admission(self) -> bool:
        """Whether admission (or quota) refused; RBAC's own sentence always names the user."""
        return _RBAC_DENIAL.search(self.message) is None


class NotFound(KubeError):
    """404: no such object, or no such resource."""


class Conflict(KubeError):
    """409: the object has another resource version than the one written against."""


class AlreadyExists(KubeError):
    """409: the name is taken."""


class Gone(KubeError):
    """410: the resource version or the page of a list is no longer kept; list again."""


class Invalid(KubeError):
    """422: the object would be invalid."""


class TestFailed(KubeError):
    """422: a ``test`` of the JSON Patch did not hold, or a path it names is not there.

    The API server does not say which; the object has to be read again.
    """

    __test__ = False  # the name is RFC 6902's; pytest must not collect it


class Throttled(KubeError):
    """429: too many requests, still after the retries.

    Attributes:
        retry_after_seconds: what the server asked for, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str = "",
        status: int | None = None,
        reason: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, path=path, status=status, reason=reason)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(KubeError):
    """Nothing was done: the server could not be reached, or answered a read with 5xx."""


class KubeTimeout(Unavailable):
    """A read got no answer in time, or a stream fell silent."""


class OutcomeUnknown(KubeError):
    """A write was sent and its answer was lost: it may have taken effect, or still may."""


class Undecodable(KubeError):
    """The server answered with something that is not what the API promises."""


_RBAC_DENIAL: Final = re.compile(r'\bUser "[^"]*" cannot ')
_ADMISSION_DENIAL: Final = re.compile(r"\bdenied (?:the )?request\b")
_PATCH_MISFIT: Final = "the server rejected our request due to an error in our request"
"""All that Kubernetes says of a JSON Patch that does not apply; validation names the field."""
_REFUSED_BEFORE_STORAGE: Final = re.compile(r"failed calling webhook|no endpoints available")


class _Cause(msgspec.Struct, frozen=True):
    message: str = ""


class _Details(msgspec.Struct, frozen=True, rename="camel"):
    causes: tuple[_Cause, ...] | None = None
    retry_after_seconds: float | None = None


class Status(msgspec.Struct, frozen=True):
    """The part of ``meta/v1 Status`` that tells refusals apart."""

    message: str = ""
    reason: str = ""
    code: int | None = None
    details: _Details | None = None

    def causes(self) -> str:
        """The causes' messages on one line."""
        causes = self.details.causes if self.details else None
        return "; ".join(cause.message for cause in causes or () if cause.message)


_STATUS: Final = msgspec.json.Decoder(Status)


def parse_status(body: bytes) -> Status:
    """A Status, or one that carries the body's beginning where it is none (a proxy's page)."""
    try:
        return _STATUS.decode(body)
    except msgspec.MsgspecError:
        text = body[:_MESSAGE_LIMIT].decode("utf-8", errors="replace")
        return Status(message=" ".join(text.split()) or "empty answer", reason="NoStatus")


def error_of(
    http_status: int,
    body: bytes,
    *,
    path: str,
    is_write: bool,
    is_json_patch: bool = False,
    retry_after_seconds: float | None = None,
) -> KubeError:
    """The error that an answer outside 2xx means."""
    status = parse_status(body)
    causes = status.causes()
    message = status.message or HTTPStatus(http_status).phrase
    if causes and causes not in message:
        message = f"{message}: {causes}"
    if http_status == HTTPStatus.TOO_MANY_REQUESTS:
        asked = status.details.retry_after_seconds if status.details else None
        return Throttled(
            message,
            path=path,
            status=http_status,
            reason=status.reason,
            retry_after_seconds=retry_after_seconds if retry_after_seconds is not None else asked,
        )
    kind = _CLASS_BY_STATUS.get(http_status, KubeError)
    if http_status < HTTPStatus.INTERNAL_SERVER_ERROR and _ADMISSION_DENIAL.search(message):
        kind = Forbidden
    elif http_status == HTTPStatus.CONFLICT and status.reason == "AlreadyExists":
        kind = AlreadyExists
    elif kind is Invalid and is_json_patch and status.message == _PATCH_MISFIT:
        kind = TestFailed
    elif http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        # etcd and proxies answer 5xx to writes that did take effect; a webhook that could not
        # be called stands in front of storage, so there nothing happened
        refused = not is_write or _REFUSED_BEFORE_STORAGE.search(message)
        kind = Unavailable if refused else OutcomeUnknown
    return kind(message, path=path, status=http_status, reason=status.reason)


_CLASS_BY_STATUS: Final[dict[int, type[KubeError]]] = {
    HTTPStatus.UNAUTHORIZED: Unauthorized,
    HTTPStatus.FORBIDDEN: Forbidden,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.GONE: Gone,
    HTTPStatus.UNPROCESSABLE_ENTITY: Invalid,
}
