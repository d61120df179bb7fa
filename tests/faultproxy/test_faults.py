"""Each fault against a real upstream behind TLS, with the proxy as a process of its own."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest
from aiohttp import ClientConnectionError, ClientError, ClientSession

from tests.faultproxy.conftest import Certificate, Upstream
from tests.support.faultproxy import At, FaultProxy

VICTIM = """
import http.client, ssl, sys
port, ca, writes = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
connection = http.client.HTTPSConnection(
    "127.0.0.1", port, context=ssl.create_default_context(cafile=ca)
)
for number in range(writes):
    connection.request("PATCH", f"/write/{number}", body=b"{}")
    connection.getresponse().read()
    print(number, flush=True)
"""
"""Writes one after the other, and prints the number of each that was answered."""


@asynccontextmanager
async def victim(
    proxy: FaultProxy, certificate: Certificate, *, writes: int
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        VICTIM,
        proxy.url.rpartition(":")[2],
        str(certificate.cert),
        str(writes),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def fetch(caller: ClientSession, url: str) -> object:
    async with caller.get(url) as response:
        return await response.json()


async def test_requests_pass_with_their_credentials_and_are_counted(
    proxy: FaultProxy, upstream: Upstream, caller: ClientSession
) -> None:
    target = "/apis/apps/v1/namespaces/a%2Fb/deployments/web?fieldManager=x&dryRun=All"
    headers = {"Authorization": "Bearer secret", "Content-Type": "application/json-patch+json"}
    async with caller.patch(proxy.url + target, data=b"[]", headers=headers) as response:
        assert (response.status, await response.json()) == (201, {"number": 1})
    async with caller.get(proxy.url + "/healthz") as response:
        assert response.status == 200

    assert upstream.effects == [("PATCH", target, b"[]"), ("GET", "/healthz", b"")]
    assert upstream.headers[0]["Authorization"] == "Bearer secret"
    assert upstream.headers[0]["Content-Type"] == "application/json-patch+json"
    assert [(s.method, s.target, s.status) for s in await proxy.requests()] == [
        ("PATCH", target, 201),
        ("GET", "/healthz", 200),
    ]
    assert [s.target for s in await proxy.writes()] == [target]


async def test_a_mark_separates_what_came_before_from_what_came_after(
    proxy: FaultProxy, upstream: Upstream, caller: ClientSession
) -> None:
    await fetch(caller, proxy.url + "/before")
    mark = await proxy.mark()
    before = time.time()  # noqa: TID251 compared with the proxy's own wall clock
    await fetch(caller, proxy.url + "/after")
    (seen,) = await proxy.requests(after=mark)
    assert seen.target == "/after"
    assert before <= seen.at <= time.time()  # noqa: TID251 as above


async def test_a_delay_makes_the_answer_late(
    proxy: FaultProxy, upstream: Upstream, caller: ClientSession
) -> None:
    await proxy.delay(seconds=0.2, methods=["GET"], path="^/slow$")
    started = asyncio.get_running_loop().time()
    await fetch(caller, proxy.url + "/slow")
    assert asyncio.get_running_loop().time() - started >= 0.2


async def test_a_held_request_takes_effect_only_when_released_even_without_its_caller(
    proxy: FaultProxy, upstream: Upstream, caller: ClientSession
) -> None:
    rule = await proxy.hold(methods=["PATCH"], body="replicas")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await caller.patch(proxy.url + "/late", data=b'{"replicas":0}')
    await rule.fired()
    async with caller.patch(proxy.url + "/other", data=b"{}") as response:
        assert response.status == 201
    assert [target for _, target, _ in upstream.effects] == ["/other"]

    await rule.release()
    await upstream.until(2)
    assert upstream.effects[1] == ("PATCH", "/late", b'{"replicas":0}')


async def test_an_answer_can_be_held_while_its_request_has_taken_effect(
    proxy: FaultProxy, upstream: Upstream, caller: ClientSession
) -> None:
    rule = await proxy.hold(at="after", path="/held")
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(fetch(caller, proxy.url + "/held"))
        await upstream.until(1)
        await rule.fired()
        assert not call.done()
        await rule.release()
    assert call.result() == {"number": 1}


@pytest.mark.parametrize(("at", "effects"), [("before", 0), ("after", 1)])
async def test_a_dropped_request_ends_the_connection_with_or_without_effect(
    proxy: FaultProxy, upstream: Upstream, caller: ClientSession, at: At, effects: int
) -> None:
    await proxy.drop(at=at, methods=["POST"])
    with pytest.raises(ClientConnectionError):
        await caller.post(proxy.url + "/lost", data=b"1")
    assert len(upstream.effects) == effects
    (seen,) = await proxy.requests()
    assert (seen.fault, seen.status) == (f"drop:{at}", 201 if effects else None)


async def test_a_made_up_answer_is_given_and_nothing_is_forwarded(
    proxy: FaultProxy, upstream: Upstream, caller: ClientSession
) -> None:
    await proxy.respond(status=429, answer="later", headers={"Retry-After": "7"}, times=None)
    for _ in range(2):
        async with caller.get(proxy.url + "/any") as response:
            assert (response.status, await response.text()) == (429, "later")
            assert response.headers["Retry-After"] == "7"
    assert upstream.effects == []
    await proxy.clear()
    async with caller.get(proxy.url + "/any") as response:
        assert response.status == 200


async def test_a_rule_skips_strikes_so_many_times_and_looks_into_the_body(
    proxy: FaultProxy, upstream: Upstream, caller: ClientSession
) -> None:
    rule = await proxy.respond(status=500, body="team-a", without="canary", skip=1, times=2)
    bodies = [b"team-a", b"team-b", b"team-a canary", b"team-a", b"team-a", b"team-a"]
    answers = []
    for body in bodies:
        async with caller.post(proxy.url + "/audit", data=body) as response:
            answers.append(response.status)
    assert answers == [201, 201, 201, 500, 500, 201]
    assert await rule.seen() == 4


async def test_a_watch_streams_through_unbuffered_and_can_be_cut(
    proxy: FaultProxy, upstream: Upstream, caller: ClientSession
) -> None:
    async with caller.get(proxy.url + "/api/v1/pods?watch=1") as response:
        async with asyncio.timeout(5):
            assert await response.content.readline() == b'{"type":"ADDED"}\n'
        assert await proxy.cut(path="/nothing") == 0
        assert await proxy.cut(path="/pods\\?watch") == 1
        with pytest.raises(ClientError):
            await response.content.readline()
    await upstream.until_watchers(0)


async def test_a_watch_whose_caller_left_is_ended_upstream_too(
    proxy: FaultProxy, upstream: Upstream, caller: ClientSession
) -> None:
    response = await caller.get(proxy.url + "/api/v1/pods?watch=1")
    await upstream.until_watchers(1)
    response.close()
    await upstream.until_watchers(0)


@pytest.mark.parametrize(
    ("at", "answered", "effects"),
    [("before", b"0\n", 1), ("after", b"0\n", 2), ("answered", b"0\n1\n", 2)],
)
async def test_a_process_is_killed_exactly_where_it_was_ordered(
    proxy: FaultProxy,
    upstream: Upstream,
    certificate: Certificate,
    at: Literal["before", "after", "answered"],
    answered: bytes,
    effects: int,
) -> None:
    held = await proxy.hold(path="/write/0")  # until its pid is known
    async with victim(proxy, certificate, writes=5) as process:
        await held.fired()
        rule = await proxy.kill(
            pid=process.pid,
            at=at,
            methods=["PATCH"],
            skip=0,
            path="/write/1",
        )
        await held.release()
        async with asyncio.timeout(10):
            stdout, _ = await process.communicate()
        await rule.fired()
    assert process.returncode == -9
    assert stdout == answered
    assert len(upstream.effects) == effects


async def test_an_upstream_that_is_gone_looks_like_a_connection_that_ends(
    certificate: Certificate, caller: ClientSession
) -> None:
    async with FaultProxy.started(
        upstream="https://127.0.0.1:1", cert=certificate.cert, key=certificate.key
    ) as proxy:
        with pytest.raises(ClientConnectionError):
            await caller.get(proxy.url + "/")


async def test_it_can_be_lent_a_client_certificate_and_take_callers_without_tls(
    upstream: Upstream, certificate: Certificate, proxy: FaultProxy, caller: ClientSession
) -> None:
    async with FaultProxy.started(
        upstream=upstream.url,
        upstream_ca=certificate.cert,
        client_cert=certificate.cert,
        client_key=certificate.key,
    ) as lent:
        assert lent.url.startswith("http://")
        await fetch(caller, lent.url + "/known")
    await fetch(caller, proxy.url + "/unknown")
    assert [bool(caller) for caller in upstream.callers] == [True, False]


async def test_a_rule_that_is_misspelt_is_refused(proxy: FaultProxy) -> None:
    with pytest.raises(AssertionError, match="unknown field `pth`"):
        await proxy.drop(pth="/x")
    with pytest.raises(AssertionError, match="unterminated"):
        await proxy.drop(path="[")
