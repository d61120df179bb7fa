"""One answer to the question what a Space is, and the sentence where a label names nobody."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sleeper
from sleeper.core.names import LABEL_TENANT, TENANT_FORM
from sleeper.core.objects import Metadata, Namespace
from sleeper.core.space import misnamed, no_space_because, tenant_of

ILLEGAL = ["", "Team-A", "team_a", "team.a", "-a", "a-", "a" * 64, "a\n", "ä"]


def namespace(tenant: str | None) -> Namespace:
    labels = {"app": "shop"} if tenant is None else {LABEL_TENANT: tenant}
    return Namespace(metadata=Metadata(name="shop", uid="u", labels=labels))


@pytest.mark.parametrize("tenant", ["a", "0", "team-a", "a--b", "a" * 63])
def test_a_dns_label_names_who_pays(tenant: str) -> None:
    assert tenant_of(namespace(tenant)) == tenant
    assert misnamed(namespace(tenant)) is None
    assert no_space_because(namespace(tenant)) is None


def test_without_the_label_it_is_no_space_and_no_mistake() -> None:
    for none in (namespace(None), Namespace(metadata=Metadata(name="shop"))):
        assert tenant_of(none) is None
        assert misnamed(none) is None
        assert no_space_because(none) == "it lacks the label sleeper.dev/tenant=<tenant>"


@pytest.mark.fault(18)
@pytest.mark.parametrize("tenant", ILLEGAL)
def test_a_label_that_names_nobody_is_a_mistake_that_names_key_value_and_form(tenant: str) -> None:
    assert tenant_of(namespace(tenant)) is None
    note = misnamed(namespace(tenant))
    assert note is not None
    because = no_space_because(namespace(tenant))
    assert because == f"its label {note}"
    for part in (LABEL_TENANT, note.quoted, TENANT_FORM):
        assert part in because


@given(st.none() | st.text(max_size=70) | st.from_regex(r"[-a-z0-9]{0,64}", fullmatch=True))
def test_any_label_is_a_tenant_or_the_reason_why_there_is_none(tenant: str | None) -> None:
    one = namespace(tenant)
    assert (tenant_of(one) is None) is (no_space_because(one) is not None)
    assert (misnamed(one) is not None) is (tenant is not None and tenant_of(one) is None)


def test_nobody_else_reads_the_tenant_label() -> None:
    readers = {
        path.name
        for path in Path(sleeper.__file__).parent.rglob("*.py")
        if re.search(r"label\((names\.)?LABEL_TENANT|LABEL_TENANT (not )?in\b", path.read_text())
    }
    assert readers == {"space.py"}
