"""CONTROL: decides who sleeps, puts to sleep, wakes, and shows why.

Belongs here: verdicts, plans, Kubernetes adapters, loops, the daemon, the command line.
May import: ``billing`` and ``metrics``; nothing imports ``sleeper``.
"""

__version__ = "0.1.0"
