"""An admission policy of the cluster that denies some writes in one Space."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.support.api import ApiError
from tests.support.eventually import eventually
from tests.support.spaces import LiveSpace

MESSAGE: Final = "not on my watch"
"""What the policy tells whoever it denies a write."""

_POLICIES: Final = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
_BINDINGS: Final = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"


@asynccontextmanager
async def denied(
    space: LiveSpace, workload: Mapping[str, Any], *, unless: str, trial: Mapping[str, Any]
) -> AsyncIterator[None]:
    """While inside, updates of workloads of this kind in the Space are denied.

    Args:
        space: where.
        workload: one of the kind; it must exist.
        unless: CEL expression over ``object`` that an update must meet.
        trial: merge patch of the workload that does not meet it; only tried, never done.
    """
    api, name = space.api, f"deny-{space.name}"
    plural = f"{workload['kind'].lower()}s"
    trial_path = (
        f"/apis/apps/v1/namespaces/{space.name}/{plural}/{workload['metadata']['name']}?dryRun=All"
    )

    async def in_force() -> bool:
        try:
            await api.merge(trial_path, trial)
        except ApiError as refusal:
            return MESSAGE in str(refusal)
        return False

    try:
        await api.call("POST", _POLICIES, body=_policy(name, plural, unless))
        await api.call("POST", _BINDINGS, body=_binding(name, space.name))
        await eventually(in_force, within=30, what="the policy is in force")
        yield
    finally:
        await api.delete(f"{_BINDINGS}/{name}")
        await api.delete(f"{_POLICIES}/{name}")


def _policy(name: str, plural: str, unless: str) -> dict[str, Any]:
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "operations": ["UPDATE"],
        "resources": [plural],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": unless, "message": MESSAGE}],
        },
    }


def _binding(name: str, space_name: str) -> dict[str, Any]:
    selector = {"matchLabels": {"kubernetes.io/metadata.name": space_name}}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": selector},
        },
    }
