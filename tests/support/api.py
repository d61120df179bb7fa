"""The API server as a test sees it: plain HTTP, nothing of sleeper in between."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
from devcluster.client import Cluster
from devcluster.identities import token_user, write_kubeconfig

_PATHS: Final = {
    ("v1", "Namespace"): "/api/v1/namespaces",
    ("v1", "Service"): "/api/v1/namespaces/{namespace}/services",
    ("v1", "Pod"): "/api/v1/namespaces/{namespace}/pods",
    ("v1", "PersistentVolumeClaim"): "/api/v1/namespaces/{namespace}/persistentvolumeclaims",
    ("v1", "ServiceAccount"): "/api/v1/namespaces/{namespace}/serviceaccounts",
    ("v1", "ConfigMap"): "/api/v1/namespaces/{namespace}/configmaps",
    ("apps/v1", "Deployment"): "/apis/apps/v1/namespaces/{namespace}/deployments",
    ("apps/v1", "StatefulSet"): "/apis/apps/v1/namespaces/{namespace}/statefulsets",
    ("apps/v1", "DaemonSet"): "/apis/apps/v1/namespaces/{namespace}/daemonsets",
    ("apps/v1", "ReplicaSet"): "/apis/apps/v1/namespaces/{namespace}/replicasets",
    ("batch/v1", "Job"): "/apis/batch/v1/namespaces/{namespace}/jobs",
    ("batch/v1", "CronJob"): "/apis/batch/v1/namespaces/{namespace}/cronjobs",
    ("networking.k8s.io/v1", "Ingress"): (
        "/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses"
    ),
}


class ApiError(AssertionError):
    """The API server refused a request of the test itself."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """HTTP to the API server under one identity; an administrator by default."""

    def __init__(self, cluster: Cluster, *, identity: str = "admin") -> None:
        self._server = cluster.apiserver
        self._tls = ssl.create_default_context(cafile=cluster.pki("ca.crt"))
        self._tls.load_cert_chain(cluster.pki(f"{identity}.crt"), cluster.pki(f"{identity}.key"))
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls), timeout=aiohttp.ClientTimeout(total=30)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None, "entered"
        await self._session.close()

    async def call(
        self, method: str, path: str, *, content_type: str = "application/json", body: Any = None
    ) -> dict[str, Any]:
        """One request; the answer as JSON.

        Raises:
            ApiError: any status of 400 and above.
        """
        assert self._session is not None, "entered"
        async with self._session.request(
            method,
            self._server + path,
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": content_type},
        ) as response:
            text = await response.text()
            if response.status >= HTTPStatus.BAD_REQUEST:
                raise ApiError(response.status, text)
            answer: dict[str, Any] = json.loads(text)
            return answer

    async def get(self, path: str) -> dict[str, Any]:
        """An object or a list."""
        return await self.call("GET", path)

    async def find(self, path: str) -> dict[str, Any] | None:
        """An object, or None if there is none."""
        try:
            return await self.get(path)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    async def items(self, path: str) -> list[dict[str, Any]]:
        """The items of a list."""
        items: list[dict[str, Any]] = (await self.get(path))["items"]
        return items

    async def create(
        self, manifest: Mapping[str, Any], *, namespace: str | None = None
    ) -> dict[str, Any]:
        """Create an object of one of the kinds that tests use."""
        return await self.call("POST", path_of(manifest, namespace), body=manifest)

    async def merge(self, path: str, patch: Any) -> dict[str, Any]:
        """A JSON merge patch."""
        return await self.call(
            "PATCH", path, content_type="application/merge-patch+json", body=patch
        )

    async def delete(self, path: str) -> None:
        """Delete an object; that there is none is fine."""
        try:
            await self.call("DELETE", path)
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    async def annotate(self, namespace: str, **annotations: str | None) -> None:
        """Set (or with None remove) ``sleeper.dev/`` annotations; ``sleep_after="5s"``."""
        named = {f"sleeper.dev/{key.replace('_', '-')}": v for key, v in annotations.items()}
        path = f"/api/v1/namespaces/{namespace}"
        await self.merge(path, {"metadata": {"annotations": named}})


def path_of(manifest: Mapping[str, Any], namespace: str | None) -> str:
    """Where an object of this kind is created."""
    return _PATHS[manifest["apiVersion"], manifest["kind"]].format(namespace=namespace)


async def service_account_kubeconfig(
    cluster: Cluster, name: str, *, namespace: str, directory: Path
) -> Path:
    """A kubeconfig for any ServiceAccount, with a token as Pods get it."""
    token = await kubectl(
        cluster, "create", "token", name, f"--namespace={namespace}", identity="admin"
    )
    path = directory / f"{namespace}-{name}.yaml"
    write_kubeconfig(
        path, server=cluster.apiserver, ca=cluster.pki("ca.crt"), user=token_user(token.strip())
    )
    return path


async def kubectl(
    cluster: Cluster,
    *arguments: str,
    identity: str = "alice",
    kubeconfig: Path | None = None,
    stdin: str | None = None,
) -> str:
    """Run kubectl as a person, or with another kubeconfig, and return what it printed.

    Raises:
        ApiError: it failed; with what it said.
    """
    process = await asyncio.create_subprocess_exec(
        "kubectl",
        f"--kubeconfig={kubeconfig or cluster.kubeconfig(identity)}",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(None if stdin is None else stdin.encode())
    if process.returncode != 0:
        raise ApiError(process.returncode or 0, errors.decode().strip())
    return output.decode()
