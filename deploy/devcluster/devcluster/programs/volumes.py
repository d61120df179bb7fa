"""A volume provisioner: makes PersistentVolumes for claims that wait for one, and removes them.

The controllers of Kubernetes do the rest, as they do with any external provisioner: they name us
on the claim once a Pod needs it, bind claim and volume, and mark the volume ``Released`` when the
claim is gone. No data is ever written, so the volume's directory does not exist.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

import aiohttp

PROVISIONER: Final = "sleeper.dev/devcluster-volumes"
_ASKED_OF: Final = "volume.kubernetes.io/storage-provisioner"
_MADE_BY: Final = "pv.kubernetes.io/provisioned-by"
_RETRY_SECONDS: Final = 1.0

Object = Mapping[str, Any]


class Provisioner:
    """Two watches, each with one reaction that may safely be repeated."""

    def __init__(self, session: aiohttp.ClientSession, server: str) -> None:
        self._session = session
        self._server = server

    async def run(self) -> None:
        """Provision and reclaim for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._react("/api/v1/persistentvolumeclaims", self._provision))
            tasks.create_task(self._react("/api/v1/persistentvolumes", self._reclaim))

    async def _react(self, path: str, react: Callable[[Object], Awaitable[None]]) -> None:
        """List, watch, and list again when the watch ends, which is also the retry."""
        while True:
            try:
                async for item in self._objects(path):
                    await react(item)
            except (aiohttp.ClientError, TimeoutError) as error:
                print(f"{path}: {error!r}", flush=True)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _objects(self, path: str) -> AsyncIterator[Object]:
        async with self._session.get(self._server + path) as response:
            listed = await response.json()
        for item in listed["items"]:
            yield item
        parameters = {"watch": "1", "resourceVersion": listed["metadata"]["resourceVersion"]}
        async with self._session.get(self._server + path, params=parameters) as response:
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                if event["type"] != "DELETED":
                    yield event["object"]

    async def _provision(self, claim: Object) -> None:
        metadata, spec = claim["metadata"], claim["spec"]
        asked_of = metadata.get("annotations", {}).get(_ASKED_OF)
        if asked_of != PROVISIONER or "volumeName" in spec or "deletionTimestamp" in metadata:
            return
        name = f"pvc-{metadata['uid']}"
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name, "annotations": {_MADE_BY: PROVISIONER}},
            "spec": {
                "storageClassName": spec["storageClassName"],
                "capacity": {"storage": spec["resources"]["requests"]["storage"]},
                "accessModes": spec["accessModes"],
                "volumeMode": spec["volumeMode"],
                "persistentVolumeReclaimPolicy": "Delete",
                "hostPath": {"path": f"/var/lib/devcluster/{name}"},
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "namespace": metadata["namespace"],
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                },
            },
        }
        url = f"{self._server}/api/v1/persistentvolumes"
        async with self._session.post(
            url, json=volume, raise_for_status=_unless(HTTPStatus.CONFLICT)
        ):
            print(f"provisioned {name}", flush=True)

    async def _reclaim(self, volume: Object) -> None:
        metadata = volume["metadata"]
        if (
            metadata.get("annotations", {}).get(_MADE_BY) != PROVISIONER
            or volume["status"].get("phase") != "Released"
            or "deletionTimestamp" in metadata
        ):
            return
        url = f"{self._server}/api/v1/persistentvolumes/{metadata['name']}"
        async with self._session.delete(url, raise_for_status=_unless(HTTPStatus.NOT_FOUND)):
            print(f"removed {metadata['name']}", flush=True)


def _unless(expected: HTTPStatus) -> Callable[[aiohttp.ClientResponse], Awaitable[None]]:
    async def check(response: aiohttp.ClientResponse) -> None:
        if response.status != expected:
            response.raise_for_status()

    return check


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("server", "ca", "certificate", "key"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    tls = ssl.create_default_context(cafile=arguments.ca)
    tls.load_cert_chain(arguments.certificate, arguments.key)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
        raise_for_status=True,
        read_bufsize=2**24,  # a watch event is one line
    ) as session:
        await Provisioner(session, arguments.server).run()


if __name__ == "__main__":
    asyncio.run(_main())
