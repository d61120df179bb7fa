"""What may be sent again is, what may have happened is said, nothing waits for ever."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from sleeper.core import jsonpatch
from sleeper.core.jsonpatch import remove, replace
from sleeper.errors import ConfigError
from sleeper.kube.client import KubeClient
from sleeper.kube.errors import (
    Gone,
    KubeError,
    KubeTimeout,
    OutcomeUnknown,
    Throttled,
    Unauthorized,
    Unavailable,
    Undecodable,
)
from sleeper.telemetry.clock import SystemClock
from tests.kube.conftest import PATIENCE_SECONDS
from tests.kube.scripted import (
    Handler,
    ScriptedServer,
    answer,
    break_connection,
    break_inside_body,
    hang,
    hang_after_headers,
    refusal,
)

PATH = "/api/v1/namespaces/a"

WRITES: dict[str, Callable[[KubeClient], Awaitable[object]]] = {
    "create": lambda client: client.create("/api/v1/namespaces", {}),
    "json_patch": lambda client: client.json_patch(PATH, [replace("/a", 1)]),
    "merge_patch": lambda client: client.merge_patch(PATH, {"a": 1}),
    "delete": lambda client: client.delete(PATH),
}
every_write = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())


@pytest.mark.parametrize("lost", [hang, hang_after_headers], ids=lambda fault: fault.__name__)
async def test_a_read_without_an_answer_ends_in_a_timeout(
    server: ScriptedServer, client: KubeClient, lost: Handler
) -> None:
    server.then(lost)
    with pytest.raises(KubeTimeout):
        await client.get(PATH, timeout_seconds=0.5)


@every_write
@pytest.mark.parametrize(
    "lost",
    [hang, hang_after_headers, break_connection, break_inside_body],
    ids=lambda fault: fault.__name__,
)
async def test_a_write_whose_answer_is_lost_is_sent_once_and_of_unknown_outcome(
    server: ScriptedServer,
    client: KubeClient,
    write: Callable[[KubeClient], Awaitable[object]],
    lost: Handler,
) -> None:
    server.then(lost)
    with pytest.raises(OutcomeUnknown):
        await write(client)
    assert len(server.requests) == 1


@every_write
async def test_a_write_on_a_kept_connection_that_breaks_is_not_sent_again(
    server: ScriptedServer, client: KubeClient, write: Callable[[KubeClient], Awaitable[object]]
) -> None:
    server.then(answer(), break_connection, answer())
    await client.get(PATH)
    with pytest.raises(OutcomeUnknown):
        await write(client)
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_server_error_after_a_write_is_of_unknown_outcome(
    server: ScriptedServer, client: KubeClient, status: int
) -> None:
    server.then(answer(status, "<html>bad gateway</html>"), answer())
    with pytest.raises(OutcomeUnknown):
        await client.json_patch(PATH, [replace("/a", 1)])
    assert len(server.requests) == 1


async def test_a_read_is_tried_again_after_server_errors_and_lost_connections(
    server: ScriptedServer, client: KubeClient
) -> None:
    server.then(
        answer(503, "<html>"), break_connection, break_inside_body, answer(200, {"kind": "x"})
    )
    assert json.loads(await client.get(PATH, timeout_seconds=10)) == {"kind": "x"}
    assert len(server.requests) == 4


async def test_a_page_of_a_proxy_is_an_error_and_not_an_answer(
    server: ScriptedServer, client: KubeClient
) -> None:
    server.then(answer(502, "<html>bad gateway</html>"))
    with pytest.raises(Unavailable, match="bad gateway") as caught:
        await client.get(PATH, timeout_seconds=0.3)
    assert caught.value.status == 502


async def test_a_redirect_is_not_followed(server: ScriptedServer, client: KubeClient) -> None:
    server.then(answer(302, "", Location="/elsewhere"))
    with pytest.raises(KubeError):
        await client.get(PATH)
    assert len(server.requests) == 1


@pytest.mark.parametrize("call", ["get", "json_patch"])
async def test_too_many_requests_waits_as_long_as_the_server_asks(
    server: ScriptedServer, client: KubeClient, call: str
) -> None:
    patient = await KubeClient.connect_to(
        server.url, clock=SystemClock(), user_agent="t", request_timeout_seconds=5
    )
    server.then(refusal(429, "TooManyRequests", Retry_After="1"), answer())
    began = SystemClock().monotonic()
    async with patient:
        if call == "get":
            await patient.get(PATH)
        else:
            await patient.json_patch(PATH, [replace("/a", 1)])
    assert SystemClock().monotonic() - began >= 1.0
    assert len(server.requests) == 2


async def test_too_many_requests_beyond_the_deadline_is_said_at_once(
    server: ScriptedServer, client: KubeClient
) -> None:
    server.then(refusal(429, "TooManyRequests", Retry_After="60"))
    with pytest.raises(Throttled) as caught:
        await client.get(PATH)
    assert caught.value.retry_after_seconds == 60
    assert len(server.requests) == 1


async def test_nobody_listening_is_unavailable_for_a_write_because_nothing_was_sent() -> None:
    nobody = await KubeClient.connect_to(
        "http://127.0.0.1:1", clock=SystemClock(), user_agent="t", request_timeout_seconds=1
    )
    async with nobody:
        with pytest.raises(Unavailable):
            await nobody.merge_patch(PATH, {})


async def test_an_expired_token_is_read_again_from_its_file_and_the_write_sent_again(
    server: ScriptedServer, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    kubeconfig = _kubeconfig(tmp_path, server.url, token)
    async with await KubeClient.connect(
        kubeconfig=kubeconfig, clock=SystemClock(), user_agent="t", request_timeout_seconds=2
    ) as client:
        token.write_text("new")
        server.then(refusal(401, "Unauthorized"), answer())
        await client.merge_patch(PATH, {})
    assert server.authorizations == ["Bearer old", "Bearer new"]


async def test_a_token_that_stays_refused_is_said_after_one_more_try(
    server: ScriptedServer, client: KubeClient
) -> None:
    server.then(refusal(401, "Unauthorized"))
    with pytest.raises(Unauthorized):
        await client.get(PATH)
    assert len(server.requests) == 2


async def test_a_kubeconfig_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="kubeconfig"):
        await KubeClient.connect(kubeconfig=tmp_path / "none", clock=SystemClock(), user_agent="t")


async def test_without_kubeconfig_and_outside_a_pod_there_is_a_configuration_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match="ServiceAccount"):
        await KubeClient.connect(kubeconfig=None, clock=SystemClock(), user_agent="t")


async def test_a_list_is_read_page_by_page(server: ScriptedServer, client: KubeClient) -> None:
    server.then(
        answer(200, {"metadata": {"continue": "a b"}, "items": []}),
        answer(200, {"metadata": {}, "items": []}),
    )
    async with aclosing(client.pages("/api/v1/pods", page_size=7)) as pages:
        assert len([page async for page in pages]) == 2
    assert server.requests[0] == "GET /api/v1/pods?limit=7"
    assert server.requests[1] in {
        "GET /api/v1/pods?limit=7&continue=a+b",
        "GET /api/v1/pods?limit=7&continue=a%20b",
    }


@pytest.mark.fault(15)
async def test_a_page_that_never_comes_is_asked_for_in_smaller_pieces(
    server: ScriptedServer, client: KubeClient
) -> None:
    asked: list[tuple[str, int]] = []

    async def slow_for_large_pages(request: web.Request) -> web.StreamResponse:
        begin, limit = request.query.get("continue", "0"), int(request.query["limit"])
        asked.append((begin, limit))
        if int(begin) < 100 and limit > 40:
            return await hang(request)
        end = int(begin) + limit
        meta = {"continue": str(end)} if end < 2000 else {}
        return web.json_response({"metadata": meta})

    server.then(slow_for_large_pages)
    pages = [body async for body in client.pages("/api/v1/pods")]
    assert asked[:4] == [("0", 500), ("0", 125), ("0", 31), ("31", 31)]
    assert len(pages) == len(asked) - 2
    assert asked[-1][1] > 31, "the usual size comes back"


async def test_a_list_of_which_not_even_a_small_page_comes_is_given_up(
    server: ScriptedServer, client: KubeClient
) -> None:
    server.then(hang)
    with pytest.raises(KubeTimeout):
        await anext(client.pages("/api/v1/pods"))


async def test_a_list_whose_next_page_is_no_longer_kept_is_gone(
    server: ScriptedServer, client: KubeClient
) -> None:
    server.then(answer(200, {"metadata": {"continue": "x"}}), refusal(410, "Expired"))
    with pytest.raises(Gone):
        async with aclosing(client.pages("/api/v1/pods")) as pages:
            [page async for page in pages]


async def test_an_answer_that_is_no_list_is_said_to_be_none(
    server: ScriptedServer, client: KubeClient
) -> None:
    server.then(answer(200, "<html>welcome</html>"))
    with pytest.raises(Undecodable):
        async with aclosing(client.pages("/api/v1/pods")) as pages:
            [page async for page in pages]


async def test_a_stream_that_falls_silent_ends_in_a_timeout(
    server: ScriptedServer, client: KubeClient
) -> None:
    async def one_line(request: web.Request) -> web.StreamResponse:
        return await hang_after_headers(request)

    server.then(one_line)
    with pytest.raises(KubeTimeout):
        async with aclosing(
            client.watch(PATH, resource_version="1", timeout_seconds=60, silence_seconds=0.3)
        ) as stream:
            assert [line async for line in stream]


async def test_a_watch_that_is_never_accepted_is_given_up_like_any_request(
    server: ScriptedServer, client: KubeClient
) -> None:
    server.then(hang)
    async with asyncio.timeout(3 * PATIENCE_SECONDS):
        with pytest.raises(KubeTimeout):
            async with aclosing(
                client.watch(PATH, resource_version="1", timeout_seconds=60)
            ) as stream:
                assert [line async for line in stream]


async def test_a_json_patch_is_sent_as_the_standard_says(
    server: ScriptedServer, client: KubeClient
) -> None:
    server.then(answer())
    await client.json_patch(PATH, [jsonpatch.test("/a~1b", None), replace("/c", 0), remove("/d")])
    assert json.loads(server.bodies[0]) == [
        {"op": "test", "path": "/a~1b", "value": None},
        {"op": "replace", "path": "/c", "value": 0},
        {"op": "remove", "path": "/d"},
    ]
    assert "fieldManager=sleeper" in server.requests[0]


def _kubeconfig(directory: Path, url: str, token: Path) -> Path:
    path = directory / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "x",
                "clusters": [{"name": "x", "cluster": {"server": url}}],
                "users": [{"name": "x", "user": {"tokenFile": str(token)}}],
                "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
            }
        )
    )
    return path


@pytest.mark.fault(21)
async def test_no_request_looks_for_a_netrc_or_for_proxies(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.then(answer())
    async with await _client_of(server.url) as client:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # too late: read at the start
        for _ in range(3):
            await client.get(PATH)
    assert server.authorizations == [None] * 3


@pytest.mark.parametrize(
    ("login", "shown"), [("", None), ("who:what@", "Basic d2hvOndoYXQ=")], ids=["open", "login"]
)
async def test_a_proxy_that_the_environment_names_is_asked(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, login: str, shown: str | None
) -> None:
    monkeypatch.setenv("http_proxy", server.url.replace("//", f"//{login}"))
    monkeypatch.setenv("no_proxy", "spared.example")
    logins = []

    async def forward(request: web.Request) -> web.StreamResponse:
        logins.append(request.headers.get("Proxy-Authorization"))
        return web.json_response({})

    server.then(forward)
    async with await _client_of("http://cluster.example") as client:
        await client.get(PATH)
    assert server.requests == [f"GET {PATH}"]
    async with await _client_of("http://spared.example") as client:
        with pytest.raises(Unavailable):
            await client.get(PATH, timeout_seconds=0.2)
    assert logins == [shown]


async def _client_of(url: str) -> KubeClient:
    return await KubeClient.connect_to(
        url,
        clock=SystemClock(),
        user_agent="sleeper/test",
        request_timeout_seconds=PATIENCE_SECONDS,
    )
