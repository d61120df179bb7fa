"""The command line answers at once, and its exit codes are what the documentation says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sleeper.cli.exits import ExitCode

HEAVY = (
    "aiohttp",
    "alembic",
    "apscheduler",
    "kubernetes_asyncio",
    "prometheus_api_client",
    "prometheus_client",
    "rich",
    "sqlalchemy",
    "structlog",
)


def sleeper(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sleeper", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", **environment},
    )


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from sleeper.cli.app import cli\n"
        "cli.main(['--help'], prog_name='sleeper', standalone_mode=False)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "command", ["run", "config", "spaces", "explain", "sleep", "wake", "usage"]
)
def test_every_command_has_a_help(command: str) -> None:
    ran = sleeper(command, "--help")
    assert ran.returncode == ExitCode.OK
    assert "Usage: sleeper" in ran.stdout


def test_an_unknown_command_is_a_usage_error() -> None:
    assert sleeper("nap").returncode == ExitCode.USAGE


def test_settings_that_cannot_be_used_end_run_with_every_problem(tmp_path: Path) -> None:
    config = tmp_path / "sleeper.yaml"
    config.write_text("mod: act\napi: {port: 0}\n")
    ran = sleeper("run", "--config", str(config))
    assert ran.returncode == ExitCode.BAD_CONFIG
    assert "sleeper: mod: unknown setting; did you mean mode?" in ran.stderr
    assert "sleeper: api.port: 0: must be at least 1" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_config_show_leaves_out_passwords_and_names_sources(tmp_path: Path) -> None:
    config = tmp_path / "sleeper.yaml"
    config.write_text(
        "api_signal: {enabled: false}\ndatabase: {url: 'postgresql+asyncpg://u:hunter2@h/d'}\n"
    )
    ran = sleeper("config", "show", "--config", str(config), SLEEPER_API__PORT="9009")
    assert ran.returncode == ExitCode.OK, ran.stderr
    assert "hunter2" not in ran.stdout
    assert f'database.url: "postgresql+asyncpg://u:(not shown)@h/d"  # file {config}' in ran.stdout
    assert "api.port: 9009  # environment SLEEPER_API__PORT" in ran.stdout


def test_a_daemon_that_does_not_answer_is_one_sentence() -> None:
    ran = sleeper("usage", "--server", "http://127.0.0.1:9")
    assert ran.returncode == ExitCode.UNREACHABLE
    assert "does not answer" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_wake_needs_spaces_or_all_but_not_both() -> None:
    assert sleeper("wake").returncode == ExitCode.USAGE
    assert sleeper("wake", "a", "--all").returncode == ExitCode.USAGE


@pytest.mark.parametrize(
    "option",
    [("--for", "2h"), ("--for", "1m"), ("--reason", "demo"), ("--wait",), ("--timeout", "5m")],
    ids=" ".join,
)
def test_waking_everything_takes_no_option_of_a_named_wake(option: tuple[str, ...]) -> None:
    ran = sleeper("wake", "--all", *option)
    assert ran.returncode == ExitCode.USAGE
    assert f"{option[0]}: only with named Spaces; --all wakes everything" in ran.stderr


def test_all_options_that_do_not_go_with_all_are_named() -> None:
    ran = sleeper("wake", "--all", "--reason", "demo", "--for", "2h")
    assert "--for, --reason: only with named Spaces" in ran.stderr


def test_where_the_sleep_records_are_matters_only_when_everything_is_woken() -> None:
    ran = sleeper("wake", "a", "--namespace", "sleeper-system")
    assert ran.returncode == ExitCode.USAGE
    assert "--namespace: only with --all, to say where the sleep records are" in ran.stderr


def test_a_hold_that_cannot_be_read_is_a_usage_error() -> None:
    ran = sleeper("wake", "a", "--for", "soon")
    assert ran.returncode == ExitCode.USAGE
    assert "'soon' is not a duration" in ran.stderr


def test_a_kubeconfig_that_is_not_there_is_never_replaced_by_another(tmp_path: Path) -> None:
    usual = tmp_path / ".kube" / "config"
    usual.parent.mkdir()
    usual.write_text("that of another cluster")
    gone = str(tmp_path / "gone")
    ran = sleeper("spaces", HOME=str(tmp_path), KUBECONFIG=gone)
    assert (ran.returncode, ran.stdout) == (ExitCode.BAD_CONFIG, "")
    assert ran.stderr == f"sleeper: there is no kubeconfig {gone}\n"
