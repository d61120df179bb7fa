"""Structured logs: one event name and its keys per line, JSON unless a person is watching."""

from __future__ import annotations

import logging
import sys
from enum import StrEnum
from typing import Final, TextIO

import structlog
from structlog.typing import EventDict, Processor

LONGEST_VALUE: Final = 2000
"""Characters of one value of a line; some are put together of what others wrote."""


class LogFormat(StrEnum):
    """How lines look."""

    AUTO = "auto"  # CONSOLE on a terminal, JSON elsewhere
    JSON = "json"
    CONSOLE = "console"


def configure_logs(
    *, form: LogFormat = LogFormat.AUTO, level: str = "info", stream: TextIO | None = None
) -> None:
    """Send everything that we and the libraries log to ``stream`` (default: standard error).

    Args:
        form: how lines look.
        level: least level that is shown; libraries are shown from ``warning`` on.
        stream: where to.
    """
    target = stream or sys.stderr
    if form is LogFormat.AUTO:
        form = LogFormat.CONSOLE if target.isatty() else LogFormat.JSON
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _shorten,
    ]
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(form),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for package in ("sleeper", "billing", "metrics"):
        logging.getLogger(package).setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _shorten(_logger: object, _method: str, line: EventDict) -> EventDict:
    """Cut what is long: a line must not cost what whoever wrote its words likes."""
    for key, value in line.items():
        if isinstance(value, str) and len(value) > LONGEST_VALUE:
            more = len(value) - LONGEST_VALUE
            line[key] = f"{value[:LONGEST_VALUE]}… ({more} characters more)"
    return line


def _renderers(form: LogFormat) -> list[Processor]:
    if form is LogFormat.CONSOLE:
        return [structlog.dev.ConsoleRenderer()]
    return [
        structlog.processors.dict_tracebacks,
        structlog.processors.EventRenamer("event"),
        structlog.processors.JSONRenderer(default=str),
    ]
