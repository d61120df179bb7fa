"""Settings of the development cluster, and what it says about wrong ones."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from devcluster import cli, isolation
from devcluster.errors import DevclusterError
from devcluster.facts import facts
from devcluster.options import parse_flags, read_options
from devcluster.publish import open_publication
from devcluster.site import DEVCLUSTER, PROJECT, Ports, Site, choose_ports


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("DEVCLUSTER_NODES", "many", "expected a number from 1 to 15"),
        ("DEVCLUSTER_NODES", "16", "expected a number from 1 to 15"),
        ("DEVCLUSTER_POD_START", "soon", "expected a duration such as '500ms' or '2s'"),
        ("DEVCLUSTER_ISOLATION", "perhaps", "expected 'auto' or 'off'"),
        ("DEVCLUSTER_PORT_ETCD", "0", "expected a number from 1 to 65535"),
        ("DEVCLUSTER_FLAGS_ETCD", "debug", "expected the form --name=value"),
    ],
)
def test_a_setting_that_cannot_be_read_is_refused_with_the_expected_form(
    name: str, value: str, sentence: str
) -> None:
    with pytest.raises(DevclusterError, match=sentence):
        read_options({name: value})


def test_flags_are_read_per_component() -> None:
    options = read_options(
        {"DEVCLUSTER_FLAGS_KUBE_APISERVER": "--audit-webhook-batch-buffer-size=10 --profiling"}
    )
    assert options.flags == {
        "kube-apiserver": {"audit-webhook-batch-buffer-size": "10", "profiling": None}
    }


def test_a_flag_value_may_hold_spaces_and_equal_signs() -> None:
    assert parse_flags("--a='b c=d'") == {"a": "b c=d"}


def test_without_a_network_of_our_own_no_two_ports_are_the_same() -> None:
    ports = choose_ports({}, isolated=False)
    values = [getattr(ports, name) for name in type(ports).__slots__]
    assert len(set(values)) == len(values)


def test_a_taken_port_is_named_with_the_setting_that_changes_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            DevclusterError, match=rf"port {port}, which prometheus wants.*DEVCLUSTER_PORT_PROMET"
        ):
            choose_ports({"prometheus": port}, isolated=False)


def test_an_unknown_port_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(DevclusterError, match=r"DEVCLUSTER_PORT_PROM is not known; .*prometheus"):
        choose_ports({"prom": 1}, isolated=True)


def _site() -> Site:
    return Site(
        directory=Path("/cluster"),
        binaries={"etcd": Path("/programs/etcd"), "kubectl": Path("/programs/kubectl")},
        options=read_options({}),
        ports=Ports(),
        isolated=True,
    )


def test_the_command_finds_the_clusters_programs_and_the_checkouts_own_before_all_others() -> None:
    path = facts(_site(), {"PATH": "/usr/bin:/bin"})["PATH"]
    assert path.split(":") == ["/programs", f"{PROJECT}/.venv/bin", "/usr/bin", "/bin"]


def test_help_is_plain_words_and_names_all_that_the_command_finds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    said = capsys.readouterr().out
    assert not re.search("``|==|:class:", said)
    found = set(facts(_site(), {})) - {
        f"DEVCLUSTER_KUBECONFIG_{who}" for who in ("ALICE", "BOB", "SLEEPER")
    }
    assert {name for name in found if name not in said} == set()


def test_a_cluster_of_ones_own_needs_a_kubeconfig() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"}
    failed = subprocess.run(
        [sys.executable, DEVCLUSTER, "true"],
        env={**environment, "DEVCLUSTER_USE_KUBECONFIG": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode == 125
    assert "KUBECONFIG is not set" in failed.stderr


def test_a_cluster_of_ones_own_is_used_as_it_is() -> None:
    script = "import os; print(os.environ['KUBECONFIG'], os.environ['DEVCLUSTER_POD_NETWORK'])"
    done = subprocess.run(
        [sys.executable, DEVCLUSTER, sys.executable, "-c", script],
        env={**os.environ, "DEVCLUSTER_USE_KUBECONFIG": "1", "KUBECONFIG": "mine.yaml"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "mine.yaml 0\n"


@pytest.mark.parametrize("text", ["prometheus", "prometheus=", "prom=9090", "=1", "ingress=99999"])
def test_a_publication_that_cannot_be_had_is_refused(text: str) -> None:
    with pytest.raises(DevclusterError, match=f"--publish {text}"):
        open_publication(text)


def test_a_publication_on_a_taken_port_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "ensure_binaries", lambda _: {})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["--publish", f"prometheus={port}", "true"]) == 125
    (said,) = capfd.readouterr().err.splitlines()
    assert said.startswith(f"devcluster: --publish prometheus={port}: port {port} cannot be had (")
    assert said.endswith("; choose another")


@pytest.mark.parametrize("isolated", [True, False])
def test_a_full_disk_is_one_sentence(
    isolated: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whichever directory is made first: the mount point, or the cluster's own."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/some/directory")

    monkeypatch.setattr(cli, "ensure_binaries", lambda _: {})
    monkeypatch.setattr(isolation, "why_not", lambda: None if isolated else "no namespaces")
    monkeypatch.setattr("devcluster.isolation.Path.mkdir", full)
    monkeypatch.setattr("devcluster.isolation.tempfile.mkdtemp", full)
    assert cli.main(["true"]) == 125
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("devcluster: the cluster cannot be had: [Errno 28] No space left")
    assert "/some/directory" in last
