"""What the settings need of the machine: looked at before anything is opened, all at once.

The settings' own rules are :mod:`sleeper.config.rules`. What can only be learnt by opening it (a
locked database, a port that is taken, an API server that refuses us) is said when it is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from sleeper.api.sink import tls_context
from sleeper.config import Config
from sleeper.errors import ConfigError, SleeperError
from sleeper.store.engine import check_usable


def require(config: Config) -> None:
    """Refuse settings that cannot be used on this machine.

    Raises:
        ConfigError: with one line for each problem.
    """
    problems = [sentence for check in _CHECKS for sentence in check(config)]
    if problems:
        raise ConfigError("\n".join(problems))


def _kubeconfig(config: Config) -> Iterator[str]:
    path = config.kubernetes.kubeconfig
    if path is not None and not path.is_file():
        yield f"kubernetes.kubeconfig: there is no file {path}"


def _sink(config: Config) -> Iterator[str]:
    api = config.api_signal
    if not api.enabled:
        return
    assert api.tls_cert is not None
    assert api.tls_key is not None
    try:
        tls_context(certificate=api.tls_cert, key=api.tls_key, client_ca=api.client_ca)
    except ConfigError as error:
        yield str(error)
    if api.token_file is not None and not api.token_file.is_file():
        yield f"api_signal.token_file: there is no file {api.token_file}"


def _database(config: Config) -> Iterator[str]:
    try:
        check_usable(config.database.url)
    except SleeperError as error:
        yield str(error)


_CHECKS: Final[tuple[Callable[[Config], Iterator[str]], ...]] = (_kubeconfig, _sink, _database)
