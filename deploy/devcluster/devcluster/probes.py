"""Is it ready? Small questions over HTTP, answered with yes or no."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from devcluster.pki import Credential
from devcluster.site import Site

_PATIENCE: Final = aiohttp.ClientTimeout(total=5)


async def http_ok(url: str, *, tls: ssl.SSLContext | None = None) -> bool:
    """True if a GET is answered with 200."""
    return await get_text(url, tls=tls) is not None


async def get_json(url: str, *, tls: ssl.SSLContext | None = None) -> Mapping[str, Any] | None:
    """The answer to a GET as a JSON object; None if there is no such answer."""
    text = await get_text(url, tls=tls)
    return None if text is None else json.loads(text)


async def get_text(url: str, *, tls: ssl.SSLContext | None = None) -> str | None:
    """The answer to a GET; None if nobody answers or the status is not 200."""
    try:
        async with (
            aiohttp.ClientSession(timeout=_PATIENCE) as session,
            session.get(url, ssl=tls if tls is not None else True) as response,
        ):
            return await response.text() if response.status == HTTPStatus.OK else None
    except (aiohttp.ClientError, TimeoutError):
        return None


def admin_tls(site: Site) -> ssl.SSLContext:
    """TLS to the API server as the administrator."""
    context = ssl.create_default_context(cafile=site.pki / "ca.crt")
    admin = Credential(certificate=site.pki / "admin.crt", key=site.pki / "admin.key")
    context.load_cert_chain(admin.certificate, admin.key)
    return context
