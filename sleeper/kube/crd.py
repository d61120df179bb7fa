"""The custom resource definitions, declared once as data.

``python -m sleeper.kube.crd > deploy/base/crds.yaml`` writes the manifest; a test compares it,
and the reference page of the fields, with what is declared here.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import yaml

from sleeper.core.names import GROUP, VERSION
from sleeper.core.power import PowerState
from sleeper.kube.record_wire import ENTRIES_PER_CHUNK, KIND, PLURAL

_PHASES: Final = (PowerState.FALLING_ASLEEP, PowerState.ASLEEP, PowerState.WAKING)


def _string(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": text, **more}


def _integer(text: str, *, minimum: int = 0) -> dict[str, Any]:
    return {"type": "integer", "format": "int64", "minimum": minimum, "description": text}


def _instant(text: str) -> dict[str, Any]:
    return _string(text, format="date-time")


def _object(
    text: str, properties: dict[str, Any], *, required: tuple[str, ...] = ()
) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "description": text, "properties": properties}
    if required:
        schema["required"] = list(required)
    return schema


_ENTRY: Final = _object(
    "One workload and what its changed fields were.",
    {
        "kind": _string("Kind of the workload, such as `Deployment`."),
        "name": _string("Name of the workload."),
        "uid": _string("Uid of the workload; another object of the same name is left alone."),
        "wave": _integer("Start order.", minimum=-(2**31)),
        "wasReady": _integer("Pods that were Ready before the sleep; waking waits for no more."),
        "sleptFrom": _integer("Generation at which the values were read; a sleep patch tests it."),
        "backAt": _integer("Generation at which a wake left it as it was; from then on not ours."),
        "fields": {
            "type": "object",
            "description": "JSON pointer → original value as a JSON text; `null`: it was absent.",
            "additionalProperties": {"type": "string"},
        },
    },
    required=("kind", "name", "uid", "fields"),
)

SPEC: Final = _object(
    "What was decided and what was there before anything was changed.",
    {
        "spaceUID": _string("Uid of the namespace."),
        "spaceName": _string("Name of the namespace."),
        "tenant": _string("Who pays."),
        "epoch": _integer("Number of this sleep of the Space; it only grows.", minimum=1),
        "chunk": _integer("Number of this chunk; 0 is the head."),
        "chunks": _integer("Number of chunks of the record.", minimum=1),
        "reason": _string("Why the Space was put to sleep."),
        "horizon": _instant("A person's touch later than this wakes the Space."),
        "decidedAt": _instant("When the sleep was decided."),
        "freed": _object(
            "Requests of the Pods that were alive at the decision.",
            {
                "cpuMillis": _integer("Milli-cores."),
                "memoryBytes": _integer("Bytes."),
                "pods": _integer("Number of Pods."),
            },
        ),
        "entries": {
            "type": "array",
            "description": "The workloads of this chunk.",
            "maxItems": ENTRIES_PER_CHUNK,
            "items": _ENTRY,
        },
    },
    required=(
        "spaceUID",
        "spaceName",
        "tenant",
        "epoch",
        "chunk",
        "chunks",
        "reason",
        "horizon",
        "decidedAt",
        "entries",
    ),
)

STATUS: Final = _object(
    "How far the sleep is; on the head only.",
    {
        "phase": _string("Where the Space stands.", enum=[phase.value for phase in _PHASES]),
        "sleepingSince": _instant("When the Space was verified to be asleep."),
        "wakeReason": _string("Why it is being woken."),
        "wakeStartedAt": _instant("When waking began."),
        "wary": {
            "type": "boolean",
            "description": "Somebody wrote StatefulSets meanwhile: their claims stay retained.",
        },
    },
    required=("phase",),
)


def _column(name: str, path: str, *, type_: str = "string", priority: int = 0) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": type_, "jsonPath": path}
    return column | ({"priority": priority} if priority else {})


def sleep_record_definition() -> dict[str, Any]:
    """The CustomResourceDefinition of SleepRecord."""
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {
            "openAPIV3Schema": _object(
                "What one sleep of one Space changed, so that it can be undone.",
                {"spec": SPEC, "status": STATUS},
                required=("spec",),
            )
        },
        "additionalPrinterColumns": [
            _column("Space", ".spec.spaceName"),
            _column("Epoch", ".spec.epoch", type_="integer"),
            _column("Phase", ".status.phase"),
            _column("Reason", ".spec.reason"),
            _column("Chunk", ".spec.chunk", type_="integer", priority=1),
            _column("Decided", ".spec.decidedAt", type_="date"),
        ],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
            },
            "versions": [version],
        },
    }


def manifest() -> str:
    """``deploy/base/crds.yaml``."""
    head = "# Generated from sleeper/kube/crd.py by `python -m sleeper.kube.crd`; do not edit.\n"
    return head + yaml.safe_dump(sleep_record_definition(), sort_keys=False, width=100)


def reference() -> str:
    """``docs/reference/sleeprecord.md``: every field with its meaning."""
    lines = [
        "# SleepRecord",
        "",
        (
            f"`{PLURAL}.{GROUP}/{VERSION}`, in sleeper's own namespace: what one sleep of one "
            "Space changed. It is written before the first change and removed after waking, and "
            "it is all that `sleeper wake --all` needs. A record of more than "
            f"{ENTRIES_PER_CHUNK} workloads is split into chunks; the head is chunk 0."
        ),
        "",
        "| field | type | meaning |",
        "|---|---|---|",
    ]
    for root, schema in (("spec", SPEC), ("status", STATUS)):
        lines += [f"| `{path}` | {type_} | {text} |" for path, type_, text in _rows(root, schema)]
    return "\n".join(lines) + "\n"


def _rows(path: str, schema: dict[str, Any]) -> list[tuple[str, str, str]]:
    kind = schema.get("format") or schema["type"]
    if "enum" in schema:
        kind = " \\| ".join(f"`{value}`" for value in schema["enum"])
    rows = [(path, kind, schema["description"])]
    for name, member in schema.get("properties", {}).items():
        rows += _rows(f"{path}.{name}", member)
    if "items" in schema:
        rows += _rows(f"{path}[]", schema["items"])
    return rows


if __name__ == "__main__":
    sys.stdout.write(manifest())
