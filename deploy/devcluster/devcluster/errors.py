"""What can go wrong, as sentences for the person at the keyboard."""

from __future__ import annotations


class DevclusterError(Exception):
    """The cluster cannot be had; the message is one sentence that says what to do about it."""


class BuildError(DevclusterError):
    """A binary could not be built."""


class ComponentError(DevclusterError):
    """A component did not start, or does not do what it was told."""
