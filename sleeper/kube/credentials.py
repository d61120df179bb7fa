"""Where the API server is and who we are: kubeconfig or the Pod's own ServiceAccount.

kubernetes_asyncio reads both and refreshes the in-cluster token; a kubeconfig's token file or
exec plug-in is read again by loading anew, which the client does when it meets a 401.
"""

from __future__ import annotations

from pathlib import Path

from kubernetes_asyncio import config
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config import kube_config

from sleeper.errors import ConfigError


class Credentials:
    """A source of client configurations; :meth:`load` may be called again to refresh.

    Args:
        kubeconfig: its file; None: the Pod's ServiceAccount.
        context: of the kubeconfig; None: its current one.
        server: URL that replaces the configured one, to speak to one certain API server.
    """

    def __init__(
        self, *, kubeconfig: Path | None, context: str | None, server: str | None = None
    ) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._server = server

    def __str__(self) -> str:
        return f"kubeconfig {self._kubeconfig}" if self._kubeconfig else "the ServiceAccount"

    async def load(self) -> Configuration:
        """Read the configuration now.

        Raises:
            ConfigError: there is none, or it cannot be used.
        """
        configuration = Configuration()
        try:
            if self._kubeconfig is None:
                config.load_incluster_config(  # type: ignore[no-untyped-call]
                    client_configuration=configuration
                )
            elif not self._kubeconfig.is_file():
                raise ConfigError(f"there is no kubeconfig {self._kubeconfig}")
            else:
                await config.load_kube_config(
                    config_file=str(self._kubeconfig),
                    context=self._context,
                    client_configuration=configuration,
                    persist_config=False,
                )
        except (config.ConfigException, OSError, ValueError) as error:
            if self._kubeconfig is None:
                raise ConfigError(
                    "no way to the cluster: no kubeconfig is given or found (--kubeconfig or "
                    "KUBECONFIG for a command, kubernetes.kubeconfig for the daemon), and this is "
                    f"no Pod with a ServiceAccount ({error})"
                ) from error
            raise ConfigError(f"cannot read cluster access from {self}: {error}") from error
        if self._server is not None:
            configuration.host = self._server.rstrip("/")
        return configuration


def remove_unpacked_keys() -> None:
    """Remove the files into which a kubeconfig's embedded keys were unpacked to be read as TLS.

    kubernetes_asyncio has no public way to, and removes them itself only when the process ends in
    order: a private key would outlive whoever is killed. Call it when a client has read them.
    """
    kube_config._cleanup_temp_files()


class FixedCredentials:
    """One server and one token, as tests and tools use them."""

    def __init__(self, url: str, *, token: str | None = None, ca_file: Path | None = None) -> None:
        self._url = url
        self._token = token
        self._ca_file = ca_file

    async def load(self) -> Configuration:
        """The same configuration every time."""
        configuration = Configuration(host=self._url.rstrip("/"))
        if self._ca_file is not None:
            configuration.ssl_ca_cert = str(self._ca_file)
        if self._token is not None:
            configuration.api_key["BearerToken"] = f"Bearer {self._token}"
        return configuration
