"""The fixtures that the other tests on the cluster stand on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.daemon import Daemon
from tests.support.eventually import NotInTimeError, eventually

pytestmark = pytest.mark.cluster


async def test_the_daemon_becomes_ready_stops_and_starts_again(
    new_daemon: Callable[..., Daemon],
) -> None:
    daemon = new_daemon()
    await daemon.start()
    first = daemon.pid
    assert "sleeper_" in await daemon.metrics()
    assert await daemon.stop() == 0
    await daemon.start()
    assert daemon.pid != first
    daemon.kill()
    assert not daemon.running


async def test_waiting_for_what_never_happens_fails_with_the_last_answer() -> None:
    with pytest.raises(NotInTimeError, match=r"the moon: not within 0\.2 s; last answer: None"):
        await eventually(lambda: None, within=0.2, what="the moon")
