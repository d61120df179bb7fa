"""Which data goes with its Pod, by image, mounts, environment and command line."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sleeper.core.databases import DATABASES
from sleeper.core.local_data import Perishable
from sleeper.core.objects import Pod, PodSpec
from sleeper.core.pods import Container

CLAIM = {"persistentVolumeClaim": {"claimName": "c"}}
EMPTY: dict[str, Any] = {"emptyDir": {}}
CONFIG = {"configMap": {"name": "c"}}
LAYER = "the container's own layer"
PG = "/var/lib/postgresql/data"

Volumes = dict[str, dict[str, Any]]
"""Where it is mounted → what kind of volume it is."""


def container(image: str, paths: Any = (), **more: Any) -> dict[str, Any]:
    mounts = [{"name": f"v{path}", "mountPath": path} for path in paths]
    return {"name": "c", "image": image, "volumeMounts": mounts, **more}


def spec(image: str, volumes: Volumes | None = None, **more: Any) -> PodSpec:
    """Decoded as it comes from the API server."""
    volumes = volumes or {}
    pod = {k: more.pop(k) for k in ("nodeSelector",) if k in more}
    body = {
        "containers": [container(image, volumes, **more)],
        "volumes": [{"name": f"v{path}", **kind} for path, kind in volumes.items()],
        **pod,
    }
    return msgspec.json.decode(msgspec.json.encode({"spec": body, "metadata": {}}), type=Pod).spec


def lost(image: str, volumes: Volumes | None = None, **more: Any) -> tuple[str, str] | None:
    found = spec(image, volumes, **more).perishables
    return None if not found else (found[0].directory, found[0].held_by)


@pytest.mark.fault(8)
@pytest.mark.parametrize(
    ("image", "directory"),
    [
        ("postgres:16", PG),
        ("postgis/postgis:16-3.4", PG),
        ("timescale/timescaledb:latest-pg16", PG),
        ("timescale/timescaledb-ha:pg16", "its data directory"),
        ("bitnami/postgresql:16", "/bitnami/postgresql/data"),
        ("mysql:8", "/var/lib/mysql"),
        ("mariadb:11", "/var/lib/mysql"),
        ("percona/percona-server:8.0", "/var/lib/mysql"),
        ("mongo:7", "/data/db"),
        ("redis:7-alpine", "/data"),
        ("valkey/valkey:8", "/data"),
        ("eqalpha/keydb", "/data"),
        ("docker.elastic.co/elasticsearch/elasticsearch:8", "/usr/share/elasticsearch/data"),
        ("opensearchproject/opensearch:2", "/usr/share/opensearch/data"),
        ("cassandra:5", "/var/lib/cassandra"),
        ("scylladb/scylla:6.0", "/var/lib/scylla"),
        ("couchdb:3", "/opt/couchdb/data"),
        ("couchbase:7", "/opt/couchbase/var"),
        ("influxdb:2", "/var/lib/influxdb"),
        ("neo4j:5", "/data"),
        ("rabbitmq:3-management", "/var/lib/rabbitmq/mnesia"),
        ("apache/kafka:3.8.0", "/tmp/kraft-combined-logs"),
        ("confluentinc/cp-kafka:7.6.0", "/var/lib/kafka/data"),
        ("zookeeper:3.9", "/data"),
        ("quay.io/coreos/etcd:v3.5.0", "/default.etcd"),
        ("minio/minio", "its data directory"),
        ("clickhouse/clickhouse-server:24", "/var/lib/clickhouse"),
        ("cockroachdb/cockroach:v24.1.0", "/cockroach/cockroach-data"),
        ("mcr.microsoft.com/mssql/server:2022-latest", "/var/opt/mssql/data"),
        ("gvenzl/oracle-xe:21", "/opt/oracle/oradata"),
        ("rethinkdb:2.4", "/data"),
        ("arangodb:3.12", "/var/lib/arangodb3"),
        ("dgraph/dgraph:v23", "/dgraph"),
        ("solr:9", "/var/solr"),
        ("hashicorp/consul:1.18", "/consul/data"),
        ("hashicorp/vault:1.16", "its data directory"),
        ("prom/prometheus:v2.53.0", "/prometheus"),
        ("grafana/grafana:11.0.0", "/var/lib/grafana"),
        ("gitea/gitea:1.22", "/data"),
    ],
)
def test_a_known_database_without_a_volume_loses_its_data(image: str, directory: str) -> None:
    assert lost(image) == (directory, LAYER)


@pytest.mark.fault(8)
def test_an_empty_dir_at_the_data_directory_is_as_good_as_nothing() -> None:
    assert lost("postgres:16", {PG: EMPTY}) == (PG, f"the emptyDir 'v{PG}'")
    assert lost("redis", {"/data": EMPTY}) == ("/data", "the emptyDir 'v/data'")
    above = lost("postgres:16", {"/var/lib/postgresql": EMPTY})
    assert above == (PG, "the emptyDir 'v/var/lib/postgresql'")


@pytest.mark.fault(8)
@pytest.mark.parametrize(
    ("image", "mounted", "directory"),
    [
        ("mongo:7", "/data", "/data/db"),
        ("postgres:16.3-alpine", "/var/lib/postgresql", PG),
        ("timescale/timescaledb:2.15-pg16", "/var/lib/postgresql", PG),
        ("mariadb:11", "/var/lib", "/var/lib/mysql"),
    ],
)
def test_a_claim_above_a_volume_that_the_image_declares_does_not_hold_the_data(
    image: str, mounted: str, directory: str
) -> None:
    declared = "a volume that the image declares there, as nothing is mounted at that place"
    assert lost(image, {mounted: CLAIM}) == (directory, declared)
    assert lost(image, {mounted: CLAIM, directory: CLAIM}) is None
    assert lost(image, {directory: CLAIM}) is None


@pytest.mark.parametrize(
    ("image", "more"),
    [
        ("postgres:18", {}),  # it keeps its data elsewhere below that, and declares the parent
        ("postgres", {}),
        ("timescale/timescaledb:2.15", {}),  # whose version that is, is not known
        ("postgres:16", {"env": [{"name": "PGDATA", "value": "/var/lib/postgresql/pgdata"}]}),
    ],
)
def test_a_claim_at_the_parent_holds_what_is_not_in_a_declared_volume(
    image: str, more: Any
) -> None:
    assert lost(image, {"/var/lib/postgresql": CLAIM}, **more) is None


@pytest.mark.parametrize("database", DATABASES, ids=lambda d: d.images[0])
def test_what_has_a_claim_at_its_directories_or_at_their_parents_loses_nothing(
    database: Any,
) -> None:
    words: dict[str, Any] = {"args": list(database.only_with[:1])}
    directories = database.directories or ("/export",)
    for image in database.images:
        assert lost(image, **words) is not None
        for places in (
            directories,
            {"/".join(path.split("/")[:-1]) or "/" for path in directories},
        )[: 1 if database.declared else 2]:
            assert lost(image, dict.fromkeys(places, CLAIM), **words) is None
            assert lost(image, dict.fromkeys(places, EMPTY), **words) is not None


@pytest.mark.parametrize(
    "kind",
    [CLAIM, {"nfs": {"server": "s", "path": "/"}}, {"awsElasticBlockStore": {"volumeID": "v"}}],
)
def test_a_volume_that_outlives_the_pod_keeps(kind: dict[str, Any]) -> None:
    assert lost("mysql", {"/var/lib/mysql/": kind}) is None


@pytest.mark.parametrize(
    ("kind", "held_by"),
    [
        ({"ephemeral": {"volumeClaimTemplate": {}}}, "the volume 'v/var/lib/mysql', which goes"),
        ({"csi": {"driver": "inline.example"}}, "the volume 'v/var/lib/mysql', which goes"),
        ({"somethingNew": {}}, "the volume 'v/var/lib/mysql', which goes"),
        ({"hostPath": {"path": "/x"}}, "the hostPath 'v/var/lib/mysql' of a node"),
        (EMPTY, "the emptyDir 'v/var/lib/mysql'"),
        ({}, "the emptyDir 'v/var/lib/mysql'"),
        (CONFIG, LAYER),
    ],
)
def test_any_other_volume_does_not(kind: dict[str, Any], held_by: str) -> None:
    found = lost("mysql", {"/var/lib/mysql": kind})
    assert found is not None
    assert found[1].startswith(held_by)


def test_a_node_s_directory_keeps_for_a_pod_that_comes_back_to_its_node() -> None:
    volumes = {"/var/lib/mysql": {"hostPath": {"path": "/x"}}}
    assert lost("mysql", volumes, nodeSelector={"kubernetes.io/hostname": "n1"}) is None
    assert lost("mysql", volumes, nodeSelector={"kubernetes.io/os": "linux"}) is not None


def test_configuration_below_does_not_keep_and_a_volume_of_the_pods_own_inside_takes_away() -> None:
    assert lost("postgres", {f"{PG}/postgresql.conf": CONFIG}) == (PG, LAYER)
    assert lost("postgres", {PG: CLAIM, f"{PG}/pg_hba.conf": CONFIG}) is None
    inside = lost("mysql", {"/var/lib/mysql": CLAIM, "/var/lib/mysql/shop": EMPTY})
    assert inside is not None
    assert inside[1] == "the emptyDir 'v/var/lib/mysql/shop' at /var/lib/mysql/shop"
    assert lost("mysql", {"/var/lib/mysql": CLAIM, "/var/lib/mysql-files": EMPTY}) is None


def test_a_claim_at_another_flavours_directory_does_not_keep() -> None:
    assert lost("bitnami/mysql", {"/var/lib/mysql": CLAIM}) == ("/bitnami/mysql/data", LAYER)
    assert lost("mysql", {"/bitnami/mysql": CLAIM}) == ("/var/lib/mysql", LAYER)
    assert lost("apache/kafka", {"/var/lib/kafka/data": CLAIM}) is not None
    assert lost("somebody/postgresql", {"/bitnami/postgresql": CLAIM}) is None


def test_both_directories_of_a_zookeeper_have_to_stay() -> None:
    assert lost("zookeeper", {"/data": CLAIM}) == ("/datalog", LAYER)
    assert lost("zookeeper", {"/data": CLAIM, "/datalog": CLAIM}) is None


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("postgres:16", {"env": [{"name": "PGDATA", "value": "/claim/pg"}]}),
        (
            "confluentinc/cp-kafka",
            {"env": [{"name": "KAFKA_LOG_DIRS", "value": "/claim/a,/claim/b"}]},
        ),
        ("quay.io/coreos/etcd", {"args": ["--data-dir=/claim/etcd"]}),
        ("quay.io/coreos/etcd", {"command": ["etcd", "--data-dir", "/claim/etcd"]}),
        ("mongo", {"args": ["mongod", "--dbpath=/claim", "--bind_ip_all"]}),
        ("prom/prometheus", {"args": ["--storage.tsdb.path=/claim/"]}),
        (
            "cockroachdb/cockroach",
            {"command": ["sh", "-c", "exec cockroach start --store=path=/claim,size=1G"]},
        ),
        ("nats", {"args": ["-js", "-sd", "/claim"]}),
        ("minio/minio", {"args": ["server", "/claim"]}),
        ("hashicorp/vault", {"args": ["server"]}),
    ],
)
def test_data_that_was_moved_is_looked_for_where_it_is(image: str, words: dict[str, Any]) -> None:
    assert lost(image, {"/claim": CLAIM}, **words) is None
    assert lost(image, {"/claim": EMPTY}, **words) is not None
    assert lost(image, **words) is not None


def test_data_that_was_moved_off_its_claim_is_lost() -> None:
    moved = [{"name": "PGDATA", "value": "/fast/pg"}]
    assert lost("postgres:16", {PG: CLAIM}, env=moved) == ("/fast/pg", LAYER)


@pytest.mark.parametrize(
    "words",
    [
        {"env": [{"name": "PGDATA", "valueFrom": {"configMapKeyRef": {}}}]},
        {"env": [{"name": "PGDATA", "value": "$(ROOT)/pg"}]},
        {"args": ["-D", "$PGDATA"]},
    ],
)
def test_where_it_was_moved_to_an_unreadable_place_any_claim_is_taken_for_it(
    words: dict[str, Any],
) -> None:
    assert lost("postgres:16", {"/claim": CLAIM}, **words) is None
    assert lost("postgres:16", {"/tmp": EMPTY}, **words) is not None


def test_a_server_that_keeps_nothing_loses_nothing() -> None:
    assert lost("nats:2", args=["--config", "/etc/nats.conf"]) is None
    assert lost("hashicorp/vault", command=["sh", "-c"], args=["vault agent -config=x"]) is None
    assert lost("memcached") is None
    assert lost("registry.example/app:1", {"/cache": EMPTY, "/data": EMPTY}) is None


@pytest.mark.fault(8)
@pytest.mark.parametrize("path", ["/var/lib/mysql", "/var/lib/postgresql", "/bitnami/redis/data"])
def test_an_empty_dir_where_databases_keep_their_data_tells_one_by_any_name(path: str) -> None:
    image = "registry.example/acme/our-db:1"
    assert lost(image, {path: EMPTY}) == (path, f"the emptyDir 'v{path}'")
    assert lost(image, {path: CLAIM}) is None
    assert lost(image) is None
    assert lost(image, {"/var/lib/postgresql": EMPTY, PG: CLAIM}) is None


def test_containers_that_have_ended_do_not_count_and_those_that_run_beside_do() -> None:
    def found(**init: Any) -> tuple[Perishable, ...]:
        body = {
            "containers": [container("registry.example/app:1")],
            "initContainers": [container("postgres:16", name="beside", **init)],
        }
        return msgspec.convert(body, PodSpec).perishables

    assert found() == ()
    (one,) = found(restartPolicy="Always")
    assert (one.container, one.image) == ("beside", "postgres:16")


def test_what_a_pod_says_of_its_data_is_read_once_and_not_kept() -> None:
    kept = spec(
        "postgres:16",
        {"/etc/app": CONFIG, "/cache": EMPTY},
        env=[{"name": "PGDATA", "value": "/x"}],
        args=["--data-dir=/x"],
        nodeSelector={"kubernetes.io/hostname": "n1"},
    )
    assert kept.empty_dirs == ("v/cache",)
    (lost_,) = kept.perishables
    assert replace(kept, node_name="n1").perishables == (lost_,)
    assert kept == PodSpec(
        containers=(Container(name="c"),), perishables=(lost_,), empty_dirs=("v/cache",)
    )


_paths = st.sampled_from([PG, "/var/lib/postgresql", "/var/lib", "/", f"{PG}/x", "/data", "/tmp"])
_kinds = st.sampled_from([CLAIM, EMPTY, CONFIG, {"hostPath": {"path": "/"}}, {"csi": {}}])


@given(
    st.sampled_from(["postgres:16", "redis", "minio/minio", "registry.example/app"]),
    st.dictionaries(_paths, _kinds, max_size=4),
    st.lists(st.text(max_size=20) | st.sampled_from(["-D", "--dir=/data", "-D=/var/lib"])),
)
def test_nothing_in_a_pod_breaks_the_look_and_one_more_claim_never_loses_more(
    image: str, volumes: Volumes, args: list[str]
) -> None:
    before = lost(image, volumes, args=args)
    covered = {path: CLAIM if kind is EMPTY else kind for path, kind in volumes.items()}
    after = lost(image, covered, args=args)
    assert before is not None or after is None


def test_what_is_found_is_told_shortly_however_long_it_is() -> None:
    moved = [{"name": "PGDATA", "value": "/x" * 100_000}]
    volumes = {f"/{'m' * 200}{number}": EMPTY for number in range(100)}
    (found,) = spec(f"postgres:{'t' * 200}", volumes, env=moved).perishables
    assert len(f"{found.image}{found.directory}{found.held_by}") < 500
