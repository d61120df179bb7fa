"""Fixtures that every test may use; those of the cluster need ``deploy/devcluster/run``.

One cluster serves a whole session (pytest runs inside it), each test has a namespace of its own.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from devcluster.client import Cluster

from tests.support import manifests
from tests.support.api import Api
from tests.support.daemon import Daemon, daemon_config, end
from tests.support.spaces import LiveSpace

pytest_plugins = ["tests.support.skips"]

_NO_CLUSTER = "no cluster: run this through deploy/devcluster/run"
_daemons = pytest.StashKey[list[Daemon]]()
_LOG_TAIL_CHARACTERS = 20_000

DaemonFactory = Callable[..., Daemon]


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster that this session runs in."""
    found = Cluster.from_environment(os.environ)
    if found is None:
        pytest.skip(_NO_CLUSTER)
    return found


@pytest_asyncio.fixture
async def api(cluster: Cluster) -> AsyncIterator[Api]:
    """The API server, as its administrator, with nothing of sleeper in between."""
    async with Api(cluster) as admin:
        yield admin


@pytest_asyncio.fixture
async def new_space(api: Api) -> AsyncIterator[Callable[..., Any]]:
    """A factory of Spaces: ``await new_space(tenant="a", sleep_after="5s")``."""
    names: list[str] = []

    async def create(
        *, tenant: str = "tenant-a", name: str | None = None, **annotations: str
    ) -> LiveSpace:
        manifest = manifests.namespace(
            name or f"space-{secrets.token_hex(4)}",
            tenant=tenant,
            annotations={
                f"sleeper.dev/{key.replace('_', '-')}": v for key, v in annotations.items()
            },
        )
        metadata = (await api.create(manifest))["metadata"]
        names.append(metadata["name"])
        return LiveSpace(name=metadata["name"], uid=metadata["uid"], api=api)

    yield create
    for name in names:
        await api.delete(f"/api/v1/namespaces/{name}")


@pytest_asyncio.fixture
async def space(new_space: Callable[..., Any]) -> LiveSpace:
    """A fresh Space; it is deleted after the test."""
    made: LiveSpace = await new_space()
    return made


@pytest.fixture
def new_daemon(
    request: pytest.FixtureRequest, cluster: Cluster, tmp_path: Path
) -> Iterator[DaemonFactory]:
    """A factory of daemons, not yet started: ``new_daemon({"mode": "observe"}, name="b")``.

    Daemons of one test share a Lease and have a directory each; give them other ports (and the same
    ``database.url``) by overrides to let them run side by side.
    """
    lease = f"sleeper-{secrets.token_hex(4)}"
    made = request.node.stash.setdefault(_daemons, [])

    def create(overrides: Mapping[str, Any] | None = None, *, name: str = "daemon") -> Daemon:
        directory = tmp_path / name
        config = daemon_config(cluster, directory, overrides or {}, lease=lease)
        daemon = Daemon(directory=directory, config=config)
        made.append(daemon)
        return daemon

    yield create
    for daemon in made:
        end(daemon)


@pytest_asyncio.fixture
async def daemon(new_daemon: DaemonFactory) -> Daemon:
    """A running daemon with the configuration for tests."""
    started = new_daemon()
    await started.start()
    return started


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what its daemons logged."""
    report = yield
    if report.failed:
        for daemon in item.stash.get(_daemons, []):
            log = daemon.log[-_LOG_TAIL_CHARACTERS:]
            report.sections.append((f"log of {daemon.log_file.parent.name}", log))
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a cluster the tests that need one are skipped, and that fails the run."""
    if Cluster.from_environment(os.environ) is None:
        for item in items:
            if item.get_closest_marker("cluster") is not None:
                item.add_marker(pytest.mark.skip(reason=_NO_CLUSTER))
