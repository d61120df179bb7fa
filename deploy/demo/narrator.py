"""Tells the story on a terminal: scenes, facts, and a table that follows the cluster.

On a terminal the table is redrawn in place; elsewhere a line is printed whenever a Space changes,
so that a log reads like the story.
"""

from __future__ import annotations

import threading
import time

from rich.console import Console
from rich.live import Live
from rich.table import Table

from demo.spaces import SPACES
from demo.watcher import Sight, Watcher

_STATE_WIDTH = len("not there yet")
"""So that the columns stay where they are."""


class Narrator:
    """Prints what happens."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._console = Console(highlight=False, soft_wrap=True)
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._printing = threading.Lock()
        self._last: dict[str, str] = {}
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._thread = threading.Thread(target=self._follow, name="table", daemon=True)

    def start(self) -> None:
        """Begin to show the table."""
        if self._console.is_terminal:
            self._live.start()
        self._thread.start()

    def stop(self) -> None:
        """Show it no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._console.is_terminal:
            self._live.stop()

    def scene(self, title: str, text: str) -> None:
        """A new scene begins."""
        self._console.print(f"\n[bold]{self._clock()}  {title}[/]\n       {text}")

    def waiting(self, text: str) -> None:
        """Nothing will happen for a while; this is what it waits for."""
        self._console.print(f"{self._clock()}  … {text}")

    def fact(self, text: str) -> None:
        """Something has been shown; the table, or the lines before, show it too."""
        if self._console.is_terminal:
            self._live.update(self._table())
        else:
            self._print_changes()
        self._console.print(f"{self._clock()}  [green]✓[/] {text}")

    def page(self, text: str) -> None:
        """Output of a command, as it is."""
        self._console.print(text, markup=False)

    def failure(self, text: str) -> None:
        """The story broke off."""
        self._console.print(f"{self._clock()}  [bold red]✗[/] ", end="")
        self._console.print(text, markup=False)

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self._began)
        return f"{seconds // 60:2d}:{seconds % 60:02d}"

    def _follow(self) -> None:
        while not self._stop.wait(1.0):
            if self._console.is_terminal:
                self._live.update(self._table(), refresh=True)
            else:
                self._print_changes()

    def _print_changes(self) -> None:
        with self._printing:
            for space in SPACES:
                state = _state(self._watcher.sight(space.name))
                if self._last.get(space.name) != state:
                    self._last[space.name] = state
                    self._console.print(f"{self._clock()}    {space.name:18} {state}")

    def _table(self) -> Table:
        table = Table(title=f"seen by the watcher, {self._clock().strip()}", title_justify="left")
        for heading in ("tenant", "Space", "Pods", "wanted", "state", "what happens there"):
            table.add_column(heading, min_width=_STATE_WIDTH if heading == "state" else None)
        for space in SPACES:
            sight = self._watcher.sight(space.name)
            table.add_row(
                space.tenant,
                space.name,
                str(sight.pods),
                str(sight.wanted),
                _state(sight),
                space.story,
            )
        return table


def _state(sight: Sight) -> str:
    if sight.asleep:
        return "asleep"
    if not sight.specs:
        return "not there yet"
    if sight.pods > sight.wanted:
        return f"{sight.pods - sight.wanted} ending"
    return "up" if sight.up else f"{sight.ready} of {sight.wanted} Ready"
