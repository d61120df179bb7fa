"""A tenant label that names nobody: one answer everywhere, told once, with what was expected."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from prometheus_client import generate_latest

from metrics.core.traffic_providers import TRAEFIK
from metrics.instruments import PrometheusRecorder
from sleeper.control.assess import Assessor
from sleeper.control.book import SpaceBook
from sleeper.control.herald import Herald
from sleeper.control.inquiry import Inquiry
from sleeper.control.signals import SignalBoard
from sleeper.control.traffic_index import LabelIndex
from sleeper.core.names import LABEL_TENANT, TENANT_FORM
from sleeper.core.objects import Namespace, SpaceObjects
from sleeper.core.policy import PolicyDefaults
from sleeper.telemetry.clock import SystemClock
from tests.control.test_herald import Events, Patches
from tests.control.test_loop import Cluster, SetClock
from tests.control.test_traffic_index import Spaces

TENANTS = [None, "", "Team_A", "team-a"]


def objects(tenant: str | None) -> SpaceObjects:
    labels = {} if tenant is None else {LABEL_TENANT: tenant}
    namespace = {"metadata": {"name": "shop", "uid": "u", "labels": labels}}
    return msgspec.convert({"namespace": namespace}, SpaceObjects)


def inquiry(tenant: str | None) -> Inquiry:
    found = objects(tenant)
    assessor = Assessor(
        inventory=Cluster(objects={"shop": found}),
        records=Cluster(),
        board=SignalBoard({}, None),
        book=SpaceBook({}),
        routes=None,
        defaults=PolicyDefaults(),
        protected_because=lambda _name: None,
        sleep_deadline=timedelta(minutes=10),
    )

    class Namespaces:
        def namespaces(self) -> list[Namespace]:
            return [found.namespace]

    return Inquiry(assessor, Namespaces(), unknown=lambda: None, clock=SetClock())


@pytest.mark.fault(18)
@pytest.mark.parametrize("tenant", TENANTS)
def test_the_read_api_lists_and_explains_spaces_alone_and_says_why_others_are_none(
    tenant: str | None,
) -> None:
    asked = inquiry(tenant)
    legal = tenant == "team-a"
    assert [line.space for line in asked.overview()] == (["shop"] if legal else [])
    assert (asked.explanation("shop") is not None) is legal
    if tenant is None:
        assert (
            asked.missing("shop") == f"shop is no Space: it lacks the label {LABEL_TENANT}=<tenant>"
        )
    elif not legal:
        assert asked.missing("shop") == (
            f"shop is no Space: its label {LABEL_TENANT}: {tenant!r} "
            f"cannot be read; expected {TENANT_FORM}"
        )
    assert asked.missing("nowhere") == "there is no Space named 'nowhere'"


@pytest.mark.fault(18)
@pytest.mark.parametrize("tenant", TENANTS)
def test_traffic_is_credited_to_spaces_alone(tenant: str | None) -> None:
    spaces = Spaces()
    spaces.put("shop", "web", tenant=tenant)
    index = LabelIndex(TRAEFIK, spaces)
    assert bool(index.meant_by("shop-web-80@kubernetes")) is (tenant == "team-a")


@pytest.mark.fault(18)
async def test_a_label_that_names_nobody_is_told_once_in_an_event_and_the_metric() -> None:
    events, recorder = Events(), PrometheusRecorder(SystemClock())
    herald = Herald(client=Patches(), events=events, recorder=recorder)
    for _ in range(2):
        await herald.warn_of_label(objects("Team_A").namespace)
    (note,) = events.notes
    assert note == f"{LABEL_TENANT}: 'Team_A' cannot be read; expected {TENANT_FORM}"
    exposed = generate_latest(recorder.registry).decode()
    assert f'sleeper_policy_problems_total{{key="{LABEL_TENANT}"}} 1.0' in exposed
