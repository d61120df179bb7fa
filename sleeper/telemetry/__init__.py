"""Logs and the clock: the edges through which the process sees itself and the time."""
