"""What we ship and document is what is declared."""

from __future__ import annotations

from pathlib import Path

import msgspec
import yaml

from sleeper.core.workloads import KINDS
from sleeper.kube import crd
from sleeper.kube.kinds import BUILT_IN, GATEWAY_ROUTES, INGRESS_CLASSES, NAMESPACES
from sleeper.kube.record_wire import to_objects
from tests.kube.test_records import record

ROOT = Path(__file__).parents[2]


def test_the_shipped_manifest_is_generated_from_the_declaration() -> None:
    shipped = (ROOT / "deploy/base/crds.yaml").read_text()
    assert shipped == crd.manifest(), "run: python -m sleeper.kube.crd > deploy/base/crds.yaml"


def test_the_reference_page_is_generated_from_the_declaration() -> None:
    assert (ROOT / "docs/reference/sleeprecord.md").read_text() == crd.reference()


def test_every_field_on_the_wire_is_declared() -> None:
    (body,) = to_objects(record())
    wire = msgspec.to_builtins(body)
    _covered("spec", wire["spec"], crd.SPEC)


def _covered(path: str, value: object, schema: dict[str, object]) -> None:
    if isinstance(value, dict) and "properties" in schema:
        properties = schema["properties"]
        assert isinstance(properties, dict)
        for name, member in value.items():
            assert name in properties, f"{path}.{name} is not declared; the API server drops it"
            _covered(f"{path}.{name}", member, properties[name])
    if isinstance(value, list):
        items = schema["items"]
        assert isinstance(items, dict)
        for member in value:
            _covered(f"{path}[]", member, items)


def test_the_cluster_role_reads_what_the_inventory_follows_and_patches_what_sleeps() -> None:
    """Neither less, on which the daemon would not start, nor a verb that nothing uses."""
    granted: dict[str, set[str]] = {}
    for document in yaml.safe_load_all((ROOT / "deploy/base/rbac.yaml").read_text()):
        for rule in document.get("rules", ()) if document["kind"] == "ClusterRole" else ():
            for resource in rule.get("resources", ()):
                granted.setdefault(resource, set()).update(rule["verbs"])
    followed = {kind.resource for kind in (*BUILT_IN, NAMESPACES, INGRESS_CLASSES)}
    wanted = {resource: {"list", "watch"} for resource in (*followed, *GATEWAY_ROUTES)}
    for resource in ("namespaces", *(kind.plural for kind in KINDS.values())):
        wanted[resource] |= {"get", "patch"}
    assert granted == wanted | {"events": {"create", "patch"}}


def test_the_role_grants_no_wildcards_and_no_secrets() -> None:
    documents = yaml.safe_load_all((ROOT / "deploy/base/rbac.yaml").read_text())
    rules = [rule for document in documents for rule in document.get("rules", ())]
    assert rules
    for rule in rules:
        granted = {*rule.get("resources", ()), *rule.get("apiGroups", ()), *rule["verbs"]}
        assert "*" not in granted
        assert not granted & {"secrets", "configmaps", "escalate", "bind", "impersonate"}
