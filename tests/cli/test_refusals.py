"""``sleeper run`` does not start on what it cannot work with, and says so in a sentence."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sleeper.api.listening import listening
from sleeper.cli.exits import ExitCode
from sleeper.store.engine import Database

Config = Mapping[str, Any]


def run(tmp_path: Path, config: Config) -> subprocess.CompletedProcess[str]:
    """The real program, with an API server that it must not get as far as."""
    return sleeper("run", "--config", written(tmp_path, config))


def written(tmp_path: Path, config: Config) -> str:
    """A file with ``config`` over settings that can be used as they are."""
    kubeconfig = tmp_path / "never-read"
    kubeconfig.touch()
    with listening("127.0.0.1", 0, section="api") as free:
        port = free.getsockname()[1]
    document = {
        "api": {"port": port},
        "api_signal": {"enabled": False},
        "database": {"url": f"sqlite+aiosqlite:///{tmp_path / 'usual.db'}"},
        "kubernetes": {"kubeconfig": str(kubeconfig)},
    } | dict(config)
    path = tmp_path / "sleeper.yaml"
    path.write_text(json.dumps(document))
    return str(path)


def sleeper(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sleeper", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"PATH": "/usr/bin:/bin"},
    )


def sentences(ran: subprocess.CompletedProcess[str], code: ExitCode) -> list[str]:
    """What it said before it ended; nothing but sentences."""
    assert ran.returncode == code, ran.stderr
    assert ran.stdout == ""
    lines = ran.stderr.splitlines()
    assert all(line.startswith("sleeper: ") for line in lines), ran.stderr
    return [line.removeprefix("sleeper: ") for line in lines]


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A database of ours."""
    file = tmp_path / "sleeper.db"
    await (await Database.open(f"sqlite+aiosqlite:///{file}")).close()
    return file


def with_database(tmp_path: Path, url: str) -> str:
    (sentence,) = sentences(run(tmp_path, {"database": {"url": url}}), ExitCode.ERROR)
    return sentence


def test_a_locked_database_is_said_at_start(tmp_path: Path, path: Path) -> None:
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        sentence = with_database(tmp_path, f"sqlite+aiosqlite:///{path}")
    finally:
        holder.close()
    assert str(path) in sentence
    assert "is locked by another process: stop it" in sentence


def test_a_read_only_database_is_said_at_start(tmp_path: Path, path: Path) -> None:
    sentence = with_database(tmp_path, f"sqlite+aiosqlite:///file:{path}?mode=ro&uri=true")
    assert str(path) in sentence
    assert "is read-only: give this user the right to write" in sentence


def test_a_schema_from_the_future_is_said_at_start(tmp_path: Path, path: Path) -> None:
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = 'from-2031'")
    raw.close()
    sentence = with_database(tmp_path, f"sqlite+aiosqlite:///{path}")
    assert "from-2031" in sentence
    assert "newer sleeper" in sentence


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"lease": {"durations_seconds": 15}}, "unknown setting; did you mean duration_seconds?"),
        (
            {"lease": {"duration_seconds": 8}},
            "lease.duration_seconds (8) must be more than lease.renew_deadline_seconds (10)",
        ),
        (
            {"defaults": {"sleep_after": "10m", "notice": "15m"}},
            "defaults.notice (900 s) must be less than defaults.sleep_after (600 s)",
        ),
    ],
    ids=["unknown", "lease", "notice"],
)
def test_unknown_and_contradictory_settings_are_refused_at_start(
    tmp_path: Path, config: Config, said: str
) -> None:
    (sentence,) = sentences(run(tmp_path, config), ExitCode.BAD_CONFIG)
    assert said in sentence


def elsewhere(tmp_path: Path) -> Config:
    """Settings in order whose files are another machine's."""
    gone = tmp_path / "gone"
    return {
        "api_signal": {
            "tls_cert": str(gone / "sink.crt"),
            "tls_key": str(gone / "sink.key"),
            "token_file": str(gone / "token"),
            "apiservers": [{"name": "main", "url": "https://127.0.0.1:6443"}],
        },
        "database": {"url": f"sqlite+aiosqlite:///{gone / 'sleeper.db'}"},
        "kubernetes": {"kubeconfig": str(gone / "kubeconfig")},
    }


@pytest.mark.parametrize("command", [("run",), ("config", "check")], ids=["run", "config check"])
def test_everything_that_is_missing_on_this_machine_is_said_at_once(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    ran = sleeper(*command, "--config", written(tmp_path, elsewhere(tmp_path)))
    said = sentences(ran, ExitCode.BAD_CONFIG)
    assert len(said) == 4
    for sentence, missing in zip(
        said, ["kubeconfig", "sink.crt", "token", "the database"], strict=True
    ):
        assert missing in sentence
        assert str(tmp_path / "gone") in sentence


def test_settings_for_another_machine_can_be_checked_too(tmp_path: Path) -> None:
    config = written(tmp_path, elsewhere(tmp_path))
    ran = sleeper("config", "check", "--syntax-only", "--config", config)
    assert (ran.returncode, ran.stdout) == (ExitCode.OK, "The settings can be used.\n")


def test_a_driver_that_is_not_for_asyncio_is_said_and_no_file_is_left(tmp_path: Path) -> None:
    ran = run(tmp_path, {"database": {"url": f"sqlite:///{tmp_path / 'sleeper.db'}"}})
    (sentence,) = sentences(ran, ExitCode.BAD_CONFIG)
    assert "has no usable asyncio driver" in sentence
    assert not (tmp_path / "sleeper.db").exists()


def test_a_port_that_is_taken_ends_run_before_anything_is_opened(tmp_path: Path) -> None:
    with listening("127.0.0.1", 0, section="api") as taken:
        port = taken.getsockname()[1]
        ran = run(tmp_path, {"api": {"port": port}})
    (sentence,) = sentences(ran, ExitCode.BAD_CONFIG)
    assert sentence == (
        f"api.listen, api.port: cannot listen on 127.0.0.1:{port}: Address already in use"
    )
    assert not (tmp_path / "usual.db").exists()
