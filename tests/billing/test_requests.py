"""A Pod's requests are what its node reserves: the cases of the scheduler's own rule."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from billing.core.pods import PodSpec, PodStatus
from billing.core.requests import Requests, effective_requests
from metrics.errors import QuantityError


def container(cpu: str, memory: str = "0", **more: Any) -> dict[str, Any]:
    return {"name": "main", "resources": {"requests": {"cpu": cpu, "memory": memory}}, **more}


def requests(spec: dict[str, Any], status: dict[str, Any] | None = None) -> Requests:
    return effective_requests(
        msgspec.convert(spec, PodSpec), msgspec.convert(status or {}, PodStatus)
    )


def cpu(spec: dict[str, Any], status: dict[str, Any] | None = None) -> int:
    return requests(spec, status).cpu_millis


def test_containers_add_up() -> None:
    spec = {"containers": [container("100m", "1Gi"), container("1", "512Mi")]}
    assert requests(spec) == Requests(cpu_millis=1100, memory_bytes=3 * 2**29)


def test_a_sum_beyond_what_a_quantity_can_be_stops_there_and_fits_its_column() -> None:
    """Nothing keeps a tenant from asking for it: a Pod that names its node needs no scheduler."""
    huge = container("9E", "7E")
    assert requests({"containers": [huge, huge]}) == Requests(
        cpu_millis=2**63 - 1, memory_bytes=2**63 - 1
    )


@pytest.mark.parametrize("resources", [{}, {"limits": {"cpu": "2"}}, {"requests": {"gpu": "1"}}])
def test_what_is_not_requested_is_not_reserved(resources: dict[str, Any]) -> None:
    assert requests({"containers": [{"name": "main", "resources": resources}]}) == Requests()


def test_an_init_container_counts_where_it_is_larger_resource_by_resource() -> None:
    spec = {
        "containers": [container("100m", "1Gi"), container("100m", "1Gi")],
        "initContainers": [container("500m", "1Mi"), container("300m", "3Gi")],
    }
    assert requests(spec) == Requests(cpu_millis=500, memory_bytes=3 * 2**30)


def test_a_sidecar_counts_beside_the_containers_and_beside_later_init_containers() -> None:
    sidecar = container("200m", restartPolicy="Always", name="sidecar")
    early, late = container("400m", name="early"), container("350m", name="late")
    assert cpu({"containers": [container("100m")], "initContainers": [sidecar]}) == 300
    spec = {"containers": [container("100m")], "initContainers": [early, sidecar, late]}
    assert cpu(spec) == 550
    spec = {"containers": [container("100m")], "initContainers": [early, late, sidecar]}
    assert cpu(spec) == 400


def test_pod_level_requests_replace_the_sum_and_overhead_comes_on_top() -> None:
    spec = {
        "containers": [container("100m", "1Gi")],
        "resources": {"requests": {"cpu": "2"}},
        "overhead": {"cpu": "50m", "memory": "64Mi"},
    }
    assert requests(spec) == Requests(cpu_millis=2050, memory_bytes=2**30 + 2**26)


def status_of(allocated: str, actual: str, **more: Any) -> dict[str, Any]:
    return {
        "containerStatuses": [
            {
                "name": "main",
                "allocatedResources": {"cpu": allocated},
                "resources": {"requests": {"cpu": actual}},
            }
        ],
        **more,
    }


@pytest.mark.parametrize(
    ("desired", "allocated", "actual", "reserved"),
    [("1", "1", "1", 1000), ("2", "1", "1", 2000), ("1", "2", "1", 2000), ("1", "1", "2", 2000)],
)
def test_during_a_resize_the_largest_of_the_three_is_reserved(
    desired: str, allocated: str, actual: str, reserved: int
) -> None:
    assert cpu({"containers": [container(desired)]}, status_of(allocated, actual)) == reserved


def test_a_resize_that_cannot_be_done_reserves_nothing_more() -> None:
    infeasible = {"type": "PodResizePending", "status": "True", "reason": "Infeasible"}
    deferred = {**infeasible, "reason": "Deferred"}
    spec = {"containers": [container("64")]}
    assert cpu(spec, status_of("1", "1", conditions=[infeasible])) == 1000
    assert cpu(spec, status_of("1", "1", conditions=[deferred])) == 64_000


def test_a_resize_of_a_sidecar_counts_and_one_of_an_init_container_cannot_be() -> None:
    for policy, expected in (("Always", 3100), (None, 1000)):
        init = {**container("1"), "name": "init", "restartPolicy": policy}
        spec = {"containers": [container("100m")], "initContainers": [init]}
        status = {"initContainerStatuses": [{"name": "init", "allocatedResources": {"cpu": "3"}}]}
        assert cpu(spec, status) == expected


def test_a_quantity_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(QuantityError, match="'lots'"):
        cpu({"containers": [container("lots")]})
