"""Who never sleeps."""

import pytest

from sleeper.core.protection import Protection

PROTECTION = Protection(own_namespace="sleeper-system", listed=("traefik", "argo*"))


@pytest.mark.parametrize(
    "name", ["kube-system", "kube-anything", "sleeper-system", "traefik", "argo", "argocd"]
)
def test_the_cluster_ourselves_and_the_listed_never_sleep(name: str) -> None:
    assert PROTECTION.because(name) is not None


@pytest.mark.parametrize("name", ["default", "kubeflow", "traefik-2", "my-argo", "sleeper"])
def test_everybody_else_may(name: str) -> None:
    assert PROTECTION.because(name) is None
