"""Field ownership: what is given back, and that nothing of ours stays."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sleeper.core.managed_fields import disown_ops, owners_of
from tests.support.modelapi import apply_patch

REPLICAS = "/spec/replicas"
WHEN_SCALED = "/spec/persistentVolumeClaimRetentionPolicy/whenScaled"
LIMIT = "/spec/revisionHistoryLimit"
OURS = (REPLICAS, WHEN_SCALED, LIMIT)


def entry(manager: str, *paths: str, operation: str = "Apply", **rest: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for path in paths:
        here = fields
        for token in path.split("/")[1:]:
            here = here.setdefault(f"f:{token}", {})
    return {
        "manager": manager,
        "operation": operation,
        "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
        **rest,
    }


def live(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"managedFields": list(copy.deepcopy(entries))}}


def managed(document: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = document["metadata"]["managedFields"]
    return sorted(found, key=lambda e: (e["manager"], e["operation"], e.get("subresource", "")))


def test_an_object_that_we_own_nothing_of_needs_no_patch() -> None:
    assert disown_ops(live(entry("helm", REPLICAS)), ()) == ()


def test_a_field_goes_back_into_the_entry_that_held_it() -> None:
    before = live(entry("helm", REPLICAS, "/spec/template"))
    owners = owners_of(before, OURS)
    taken = live(entry("helm", "/spec/template"), entry("sleeper", REPLICAS, operation="Update"))
    assert managed(apply_patch(taken, disown_ops(taken, owners))) == managed(before)


def test_an_entry_that_lost_its_last_field_is_made_again() -> None:
    scale = entry("kubectl", REPLICAS, operation="Update", subresource="scale")
    before = live(entry("helm", "/spec/template"), scale)
    owners = owners_of(before, OURS)
    taken = live(entry("helm", "/spec/template"), entry("sleeper", REPLICAS, operation="Update"))
    assert managed(apply_patch(taken, disown_ops(taken, owners))) == managed(before)


def test_a_parent_that_went_with_its_last_field_is_made_again() -> None:
    before = live(entry("helm", REPLICAS, WHEN_SCALED, "/metadata/labels"))
    owners = owners_of(before, OURS)
    taken = live(
        entry("helm", "/metadata/labels"),
        entry("sleeper", REPLICAS, WHEN_SCALED, operation="Update"),
    )
    assert managed(apply_patch(taken, disown_ops(taken, owners))) == managed(before)


def test_a_field_that_somebody_has_changed_meanwhile_is_theirs() -> None:
    owners = owners_of(live(entry("helm", REPLICAS)), OURS)
    taken = live(
        entry("argocd", REPLICAS), entry("sleeper", "/metadata/annotations", operation="Update")
    )
    after = apply_patch(taken, disown_ops(taken, owners))
    assert managed(after) == [entry("argocd", REPLICAS)]


def test_ours_is_never_among_the_owners() -> None:
    found = owners_of(live(entry("sleeper", *OURS, operation="Update")), OURS)
    assert found == ()


_FOREIGN = ("/spec/template", "/spec/selector", "/metadata/labels")
_HOLDINGS = st.lists(
    st.tuples(
        st.sampled_from(["helm", "kubectl", "argocd"]),
        st.sampled_from(["Apply", "Update"]),
        st.sampled_from(["", "scale"]),
        st.sets(st.sampled_from((*OURS, *_FOREIGN)), min_size=1),
    ),
    max_size=5,
    unique_by=lambda holding: holding[:3],
)


@given(holdings=_HOLDINGS, taken=st.sets(st.sampled_from(OURS), min_size=1))
def test_taking_and_giving_back_leaves_every_ownership_as_it_was(
    holdings: list[tuple[str, str, str, set[str]]], taken: set[str]
) -> None:
    def made(lost: set[str]) -> list[dict[str, Any]]:
        return [
            entry(
                manager,
                *sorted(held - lost),
                operation=operation,
                **({"subresource": subresource} if subresource else {}),
            )
            for manager, operation, subresource, held in holdings
            if held - lost
        ]

    before = live(*made(set()))
    owners = owners_of(before, OURS)
    changed = live(*made(taken), entry("sleeper", *sorted(taken), operation="Update"))

    after = apply_patch(changed, disown_ops(changed, owners))

    assert managed(after) == managed(before)
