"""Exit codes; ``docs/reference/exit-codes.md`` is generated from here."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3
    TIMED_OUT = 4
    UNREACHABLE = 5
    BAD_CONFIG = 6
    INTERRUPTED = 130


MEANING: Final[dict[ExitCode, str]] = {
    ExitCode.OK: "It was done; with `--wait`: and the Space is in the wanted state.",
    ExitCode.ERROR: "It could not be done; the sentence on standard error says why.",
    ExitCode.USAGE: "The command line cannot be read.",
    ExitCode.NOT_FOUND: "There is no such Space.",
    ExitCode.TIMED_OUT: "`--wait` gave up; what was asked for stays asked for.",
    ExitCode.UNREACHABLE: "The daemon's read API or the API server does not answer.",
    ExitCode.BAD_CONFIG: "Settings that cannot be used; every one is named.",
    ExitCode.INTERRUPTED: "Interrupted by the user (Ctrl-C).",
}


class CommandError(Exception):
    """Ends a command with a sentence and an exit code."""

    def __init__(self, message: str, code: ExitCode = ExitCode.ERROR) -> None:
        super().__init__(message)
        self.code = code
