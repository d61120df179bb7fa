"""Logs: one line per event, readable by programs unless a person is watching."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import logging, structlog
from sleeper.telemetry.logs import LogFormat, configure_logs
configure_logs(form=LogFormat({form!r}), level="info")
log = structlog.get_logger("sleeper.here")
log.debug("quiet")
log.info("fell_asleep", space="a", seconds=2)
log.info("long", detail="x" * 300_000)
logging.getLogger("aiohttp.access").info("quiet")
logging.getLogger("aiohttp.server").warning("loud %s", "library")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("broke")
"""


def lines(form: str) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(form=form)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == ""
    return ran.stderr.splitlines()


def test_without_a_terminal_every_line_is_json_with_event_and_keys() -> None:
    told = [json.loads(line) for line in lines("auto")]
    assert [line["event"] for line in told] == ["fell_asleep", "long", "loud library", "broke"]
    assert told[0]["space"] == "a"
    assert told[0]["level"] == "info"
    assert told[0]["logger"] == "sleeper.here"
    assert told[0]["timestamp"].endswith("Z")
    assert told[3]["exception"][0]["exc_type"] == "ZeroDivisionError"


def test_for_people_it_is_text() -> None:
    told = "\n".join(lines("console"))
    assert "fell_asleep" in told
    assert "ZeroDivisionError" in told
    assert "quiet" not in told


@pytest.mark.fault(15)
def test_no_line_is_as_long_as_whoever_wrote_its_words_likes() -> None:
    for form in ("json", "console"):
        (line,) = (line for line in lines(form) if "xxx" in line)
        assert len(line) < 3000
        assert "(298000 characters more)" in line
