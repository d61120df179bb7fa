"""A pytest plug-in: a skipped test fails the run, unless ``ALLOW_SKIP`` names its reason.

A suite that skips what it cannot run is green on a machine that runs nothing. ``ALLOW_SKIP`` is a
regular expression that is searched for in the reason; it is for a person at a machine without
namespaces, say, and CI never sets it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from typing import Any

import pytest

ENVIRONMENT = "ALLOW_SKIP"
_forbidden = pytest.StashKey[list[tuple[str, str]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_forbidden] = []
    config.pluginmanager.register(_Watcher(config), "forbidden-skips")


class _Watcher:
    def __init__(self, config: pytest.Config) -> None:
        self._forbidden = config.stash[_forbidden]
        pattern = os.environ.get(ENVIRONMENT)
        self._allowed = re.compile(pattern) if pattern else None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not hasattr(report, "wasxfail"):
            self._look_at(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._look_at(report)

    def _look_at(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped:
            return
        assert isinstance(report.longrepr, tuple), "a skip is (path, line, reason)"
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        if self._allowed is None or not self._allowed.search(reason):
            self._forbidden.append((report.nodeid, reason))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(
        self, session: pytest.Session, exitstatus: int
    ) -> Generator[None, Any, None]:
        if self._forbidden and exitstatus in {
            pytest.ExitCode.OK,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        }:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        yield

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._forbidden:
            return
        terminalreporter.section("skipped tests fail the run", red=True)
        for nodeid, reason in self._forbidden:
            terminalreporter.write_line(f"{nodeid}: {reason}")
        terminalreporter.write_line(f"({ENVIRONMENT}=<regular expression> allows a reason)")
