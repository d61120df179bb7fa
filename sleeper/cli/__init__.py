"""The command line, ``sleeper`` and ``kubectl sleeper``.

Commands are imported when they run, so that ``--help`` answers at once.
"""

from sleeper.cli.app import main

__all__ = ["main"]
