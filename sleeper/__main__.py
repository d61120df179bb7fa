"""``python -m sleeper``: the same program as the ``sleeper`` command."""

from sleeper.cli import main

if __name__ == "__main__":
    main()
