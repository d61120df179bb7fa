"""A launcher of the daemon whose wall clock a test can step.

No process can have a wall clock of its own: time namespaces shift monotonic and boot time only.
But the daemon reads the wall clock in one place, ``sleeper.telemetry.clock``, so this adds the
seconds that stand in a file to what is read there, and then runs the real command line. Monotonic
time stays as it is, as it does when somebody sets a machine's clock.

    python steppable.py FILE run --config sleeper.yaml
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path

from sleeper.cli import main
from sleeper.telemetry.clock import SystemClock


def shift_by(file: Path) -> None:
    """Let every clock of this process show the real time and the seconds that ``file`` holds."""
    real_now = SystemClock.now

    def now(self: SystemClock) -> datetime:
        return real_now(self) + timedelta(seconds=float(file.read_text()))

    SystemClock.now = now  # type: ignore[method-assign]


class WallClock:
    """The test's hand on that clock."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._file.write_text("0")

    @property
    def program(self) -> tuple[str | Path, ...]:
        """What a daemon has to be started by to live by this clock."""
        return (sys.executable, Path(__file__), self._file)

    def step(self, by: timedelta) -> datetime:
        """Step the clock; returns what it shows then."""
        staged = self._file.with_suffix(".new")
        staged.write_text(str(by.total_seconds()))
        staged.rename(self._file)  # at once: half a number would be another step
        return SystemClock().now() + by


if __name__ == "__main__":
    shift_by(Path(sys.argv.pop(1)))
    main()
