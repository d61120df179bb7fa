"""What a kubeconfig says reaches the server, and its private key stays nowhere else."""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from sleeper.errors import ConfigError
from sleeper.kube.client import KubeClient
from sleeper.telemetry.clock import SystemClock
from tests.support.certificates import Authority, Pair

AGENT = "credentials-test"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a library would put what it unpacks."""
    directory = tmp_path / "unpacked"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


@pytest_asyncio.fixture
async def url(authority: Authority) -> AsyncIterator[str]:
    """A server that lets nobody in without a certificate."""

    async def let_in(_: web.Request) -> web.Response:
        return web.json_response({"let": "in"})

    app = web.Application()
    app.router.add_get("/", let_in)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server = authority.issue("server")
    tls.load_cert_chain(server.certificate, server.key)
    tls.load_verify_locations(authority.bundle)
    tls.verify_mode = ssl.CERT_REQUIRED
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def kubeconfig(path: Path, url: str, authority: Authority, pair: Pair) -> Path:
    """One whose certificates and key are embedded."""

    def embedded(file: Path) -> str:
        return base64.b64encode(file.read_bytes()).decode()

    user = {
        "client-certificate-data": embedded(pair.certificate),
        "client-key-data": embedded(pair.key),
    }
    cluster = {"server": url, "certificate-authority-data": embedded(authority.bundle)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "it", "user": user}],
    }
    path.write_text(json.dumps(document))
    return path


def left_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def connect(path: Path) -> KubeClient:
    return await KubeClient.connect(kubeconfig=path, clock=SystemClock(), user_agent=AGENT)


async def test_an_embedded_key_lets_every_client_in_and_is_left_in_no_file(
    tmp_path: Path, url: str, authority: Authority, unpacked: Path
) -> None:
    path = kubeconfig(tmp_path / "kubeconfig", url, authority, authority.issue("client"))
    for _ in range(2):  # the daemon has one for each API server
        async with await connect(path) as client:
            assert left_in(unpacked) == []
            assert await client.get("/") == b'{"let": "in"}'


async def test_a_key_that_cannot_be_used_is_left_in_no_file_either(
    tmp_path: Path, url: str, authority: Authority, unpacked: Path
) -> None:
    pair = authority.issue("client")
    mismatched = Pair(certificate=pair.certificate, key=authority.issue("other").key)
    path = kubeconfig(tmp_path / "kubeconfig", url, authority, mismatched)
    with pytest.raises(ConfigError, match=f"certificates of kubeconfig {path}"):
        await connect(path)
    assert left_in(unpacked) == []
