"""Progress for a person: one line that changes at a terminal, else a plain line now and then."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_ERASE: Final = "\r\033[K"
_TERMINAL_SECONDS: Final = 0.5
_PLAIN_SECONDS: Final = 20.0


@contextmanager
def showing(text: Callable[[], str]) -> Iterator[None]:
    """Show ``text()`` and the time that has passed, until the block ends."""
    began = time.monotonic()
    done = threading.Event()
    terminal = sys.stderr.isatty()

    def line() -> str:
        minutes, seconds = divmod(int(time.monotonic() - began), 60)
        return f"devcluster: {text()}, {minutes}:{seconds:02d}"

    def show() -> None:
        while not done.wait(_TERMINAL_SECONDS if terminal else _PLAIN_SECONDS):
            if terminal:
                print(f"{_ERASE}{line()}", end="", file=sys.stderr, flush=True)
            else:
                print(line(), file=sys.stderr, flush=True)

    thread = threading.Thread(target=show, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        print(f"{_ERASE if terminal else ''}{line()}", file=sys.stderr, flush=True)
