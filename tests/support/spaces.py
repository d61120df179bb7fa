"""A Space of a test's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.api import Api, path_of


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSpace:
    """A namespace with the tenant label, and what tests do in it.

    Attributes:
        api: the administrator's.
    """

    name: str
    uid: str
    api: Api

    async def create(self, *manifests: Mapping[str, Any]) -> None:
        """Create objects in it."""
        for manifest in manifests:
            await self.api.create(manifest, namespace=self.name)

    async def get(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """The present state of an object that was made from ``manifest``."""
        return await self.api.get(f"{path_of(manifest, self.name)}/{manifest['metadata']['name']}")

    async def annotate(self, **annotations: str | None) -> None:
        """Set or remove ``sleeper.dev/`` annotations of the namespace."""
        await self.api.annotate(self.name, **annotations)

    async def annotations(self) -> dict[str, str]:
        """The ``sleeper.dev/`` annotations of the namespace, without their prefix."""
        found = (await self.api.get(f"/api/v1/namespaces/{self.name}"))["metadata"]
        return {
            key.removeprefix("sleeper.dev/"): value
            for key, value in found.get("annotations", {}).items()
            if key.startswith("sleeper.dev/")
        }

    async def power_state(self) -> str | None:
        """What the daemon says that the Space is."""
        return (await self.annotations()).get("power-state")

    async def pods(self) -> list[dict[str, Any]]:
        """Its Pods, terminating ones included.

        Listed from outside: a request in the namespace would be a person's touch.
        """
        selector = f"fieldSelector=metadata.namespace%3D{self.name}"
        return await self.api.items(f"/api/v1/pods?{selector}")

    async def ready_pods(self) -> int:
        """How many of its Pods are Ready and not on their way out."""
        return sum(
            "deletionTimestamp" not in pod["metadata"]
            and any(
                condition["type"] == "Ready" and condition["status"] == "True"
                for condition in pod["status"].get("conditions", ())
            )
            for pod in await self.pods()
        )
