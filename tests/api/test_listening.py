"""Addresses are had before anything begins, or named."""

from __future__ import annotations

import socket

import pytest

from sleeper.api.listening import listening
from sleeper.errors import ConfigError


def test_a_port_that_is_taken_is_named_with_the_settings_that_change_it() -> None:
    with listening("127.0.0.1", 0, section="api_signal") as holder:
        port = holder.getsockname()[1]
        expected = (
            f"^api_signal.listen, api_signal.port: cannot listen on 127.0.0.1:{port}: "
            "Address already in use$"
        )
        with (
            pytest.raises(ConfigError, match=expected),
            listening("127.0.0.1", port, section="api_signal"),
        ):
            raise AssertionError("not reached")


def test_an_address_of_another_machine_is_named() -> None:
    with (
        pytest.raises(ConfigError, match=r"cannot listen on 203\.0\.113\.7:0: Cannot assign"),
        listening("203.0.113.7", 0, section="api"),
    ):
        raise AssertionError("not reached")


def test_who_comes_before_anybody_serves_waits() -> None:
    with (
        listening("127.0.0.1", 0, section="api") as listener,
        socket.create_connection(listener.getsockname(), timeout=5),
    ):
        listener.settimeout(5)
        accepted, _ = listener.accept()
        accepted.close()
