"""Images that keep data, and where: the one table by which lost data is foreseen. Pure.

An image is known by its name alone or by its publisher and name, whatever registry, mirror, tag or
digest stands around them. The directories are those that the images' own documentation names;
``docs/reference/local-data.md`` is generated from here and compared in a test.

Memcached and the like are not here: what they hold is in memory and gone at every restart. Redis
is: from outside nobody can tell a cache from a queue or a store of sessions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """One image that keeps data.

    Attributes:
        images: ``name`` or ``publisher/name`` of the repositories; the longer one wins.
        directories: where its data is: versions and flavours differ, and one of them is used.
        all_used: all of the directories are used together.
        variables: environment variables that move it; commas separate several places.
        flags: command-line flags that move it.
        anywhere: it is moved by what we cannot read; any volume that outlives the Pod is taken
            for its place.
        only_with: command-line words without which it keeps nothing; none: it always does.
        never_with: command-line words with which it keeps nothing.
        declared: directories for which the image itself declares a volume. Where nothing is mounted
            at the very place, containerd mounts one there that goes with the container, also
            below a claim.
        up_to: for images whose tag names this version or an earlier one.
    """

    images: tuple[str, ...]
    directories: tuple[str, ...]
    all_used: bool = False
    variables: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    anywhere: bool = False
    only_with: tuple[str, ...] = ()
    never_with: tuple[str, ...] = ()
    declared: tuple[str, ...] = ()
    up_to: int | None = None


_BITNAMI: Final = ("bitnami", "bitnamilegacy", "bitnamisecure")


def _bitnami(
    *names: str,
    directory: str,
    variables: tuple[str, ...] = (),
    flags: tuple[str, ...] = (),
) -> Database:
    images = tuple(f"{publisher}/{name}" for publisher in _BITNAMI for name in names)
    return Database(images=images, directories=(directory,), variables=variables, flags=flags)


_POSTGRES: Final = ("/var/lib/postgresql/data", "/var/lib/postgresql/18/docker")
"""From version 18 on the volume is their parent; with the old one mounted it does not start."""

_POSTGRES_IMAGES: Final = ("postgres", "postgis", "timescaledb", "pgvector", "citusdata/citus")

DATABASES: Final[tuple[Database, ...]] = (
    # relational
    Database(
        images=_POSTGRES_IMAGES,
        directories=_POSTGRES[:1],
        variables=("PGDATA",),
        flags=("-D",),
        declared=_POSTGRES[:1],
        up_to=17,
    ),
    Database(
        images=_POSTGRES_IMAGES,
        directories=_POSTGRES,
        variables=("PGDATA",),
        flags=("-D",),
    ),
    Database(
        images=("timescaledb-ha",),
        directories=(),
        variables=("PGDATA",),
        anywhere=True,
    ),
    Database(
        images=("postgresql",),
        directories=("/bitnami/postgresql/data", "/var/lib/pgsql/data", *_POSTGRES),
        variables=("PGDATA", "POSTGRESQL_DATA_DIR"),
    ),
    _bitnami(
        "postgresql",
        "postgresql-repmgr",
        directory="/bitnami/postgresql/data",
        variables=("PGDATA", "POSTGRESQL_DATA_DIR"),
    ),
    Database(
        images=(
            "mysql",
            "mysql-server",
            "mysql/community-server",
            "mariadb",
            "percona",
            "percona-server",
            "percona-xtradb-cluster",
        ),
        directories=("/var/lib/mysql",),
        flags=("--datadir",),
        declared=("/var/lib/mysql",),
    ),
    _bitnami("mysql", directory="/bitnami/mysql/data"),
    _bitnami(
        "mariadb",
        "mariadb-galera",
        directory="/bitnami/mariadb/data",
    ),
    Database(images=("mssql/server",), directories=("/var/opt/mssql/data",)),
    Database(
        images=("oracle-xe", "oracle-free", "database/free", "database/express"),
        directories=("/opt/oracle/oradata",),
    ),
    Database(
        images=("cockroach",),
        directories=("/cockroach/cockroach-data",),
        flags=("--store", "-s"),
    ),
    Database(
        images=("pingcap/tikv", "pingcap/pd"), directories=(), flags=("--data-dir",), anywhere=True
    ),
    Database(images=("firebird",), directories=("/var/lib/firebird/data", "/firebird/data")),
    # documents, graphs, wide columns
    Database(
        images=("mongo",),
        directories=("/data/db",),
        flags=("--dbpath",),
        declared=("/data/db", "/data/configdb"),
    ),
    Database(
        images=("mongodb-community-server", "mongodb-enterprise-server"),
        directories=("/data/db",),
        flags=("--dbpath",),
    ),
    Database(images=("percona-server-mongodb",), directories=("/data/db",), flags=("--dbpath",)),
    Database(
        images=("mongodb",),
        directories=("/bitnami/mongodb/data/db", "/data/db", "/var/lib/mongodb/data"),
        flags=("--dbpath",),
    ),
    _bitnami(
        "mongodb",
        "mongodb-sharded",
        directory="/bitnami/mongodb/data/db",
        variables=("MONGODB_DATA_DIR",),
        flags=("--dbpath",),
    ),
    Database(images=("couchdb",), directories=("/opt/couchdb/data",)),
    _bitnami("couchdb", directory="/bitnami/couchdb/data"),
    Database(images=("couchbase",), directories=("/opt/couchbase/var",)),
    Database(images=("cassandra",), directories=("/var/lib/cassandra",)),
    _bitnami("cassandra", directory="/bitnami/cassandra/data"),
    Database(images=("scylla", "scylla-enterprise"), directories=("/var/lib/scylla",)),
    Database(
        images=("neo4j",),
        directories=("/data",),
        variables=("NEO4J_server_directories_data", "NEO4J_dbms_directories_data"),
    ),
    _bitnami("neo4j", directory="/bitnami/neo4j/data"),
    Database(images=("arangodb",), directories=("/var/lib/arangodb3",)),
    Database(images=("rethinkdb",), directories=("/data",), flags=("--directory", "-d")),
    Database(images=("dgraph",), directories=("/dgraph",), flags=("--postings", "-p")),
    Database(images=("dgraph/standalone",), directories=("/dgraph",)),
    Database(images=("memgraph", "memgraph-mage"), directories=("/var/lib/memgraph",)),
    # keys and values, coordination, secrets
    Database(
        images=(
            "redis",
            "redis-stack",
            "redis-stack-server",
            "valkey",
            "keydb",
            "dragonfly",
        ),
        directories=("/data",),
        flags=("--dir",),
    ),
    _bitnami("redis", "redis-cluster", directory="/bitnami/redis/data"),
    _bitnami("valkey", "valkey-cluster", directory="/bitnami/valkey/data"),
    _bitnami("keydb", directory="/bitnami/keydb/data"),
    Database(
        images=("etcd", "etcd-amd64", "etcd-arm64"),
        directories=("/default.etcd",),
        variables=("ETCD_DATA_DIR",),
        flags=("--data-dir", "-data-dir"),
    ),
    _bitnami(
        "etcd",
        directory="/bitnami/etcd/data",
        variables=("ETCD_DATA_DIR",),
        flags=("--data-dir",),
    ),
    Database(images=("zookeeper",), directories=("/data", "/datalog"), all_used=True),
    Database(
        images=("cp-zookeeper",),
        directories=("/var/lib/zookeeper/data", "/var/lib/zookeeper/log"),
        all_used=True,
    ),
    _bitnami("zookeeper", directory="/bitnami/zookeeper/data"),
    Database(
        images=("consul", "consul-enterprise"),
        directories=("/consul/data",),
        flags=("-data-dir", "--data-dir"),
    ),
    _bitnami("consul", directory="/bitnami/consul"),
    Database(
        images=("vault", "openbao"),
        directories=(),
        anywhere=True,
        never_with=("agent", "proxy"),
    ),
    # queues and streams
    Database(
        images=("rabbitmq",),
        directories=("/var/lib/rabbitmq/mnesia",),
        variables=("RABBITMQ_MNESIA_BASE", "RABBITMQ_MNESIA_DIR"),
    ),
    _bitnami(
        "rabbitmq",
        directory="/bitnami/rabbitmq/mnesia",
        variables=("RABBITMQ_MNESIA_BASE", "RABBITMQ_MNESIA_DIR"),
    ),
    Database(
        images=("apache/kafka", "apache/kafka-native"),
        directories=("/tmp/kraft-combined-logs",),  # noqa: S108
        variables=("KAFKA_LOG_DIRS", "KAFKA_LOG_DIR"),
    ),
    Database(
        images=("kafka",),
        directories=(
            "/tmp/kraft-combined-logs",  # noqa: S108
            "/var/lib/kafka/data",
            "/bitnami/kafka/data",
            "/kafka",
        ),
        variables=("KAFKA_LOG_DIRS", "KAFKA_CFG_LOG_DIRS", "KAFKA_LOG_DIR"),
    ),
    Database(
        images=("cp-kafka", "cp-server", "confluent-local"),
        directories=("/var/lib/kafka/data",),
        variables=("KAFKA_LOG_DIRS", "KAFKA_LOG_DIR"),
    ),
    _bitnami(
        "kafka",
        directory="/bitnami/kafka/data",
        variables=("KAFKA_CFG_LOG_DIRS", "KAFKA_CFG_LOG_DIR"),
    ),
    Database(images=("redpanda",), directories=("/var/lib/redpanda/data",)),
    Database(
        images=("nats", "nats-server"),
        directories=("/tmp/nats/jetstream",),  # noqa: S108
        flags=("-sd", "--store_dir"),
        only_with=("-js", "--jetstream", "-sd", "--store_dir"),
    ),
    Database(images=("activemq-classic",), directories=("/opt/apache-activemq/data",)),
    Database(images=("activemq-artemis",), directories=("/var/lib/artemis-instance",)),
    Database(images=("pulsar", "pulsar-all"), directories=("/pulsar/data",)),
    # search, vectors
    Database(images=("elasticsearch",), directories=("/usr/share/elasticsearch/data",)),
    _bitnami("elasticsearch", directory="/bitnami/elasticsearch/data"),
    Database(images=("opensearch",), directories=("/usr/share/opensearch/data",)),
    _bitnami("opensearch", directory="/bitnami/opensearch/data"),
    Database(images=("solr",), directories=("/var/solr",), variables=("SOLR_HOME",)),
    _bitnami("solr", directory="/bitnami/solr"),
    Database(
        images=("meilisearch",),
        directories=("/meili_data",),
        variables=("MEILI_DB_PATH",),
        flags=("--db-path",),
    ),
    Database(
        images=("typesense",),
        directories=(),
        variables=("TYPESENSE_DATA_DIR",),
        flags=("--data-dir",),
        anywhere=True,
    ),
    Database(images=("qdrant",), directories=("/qdrant/storage",)),
    Database(
        images=("weaviate",),
        directories=("/var/lib/weaviate",),
        variables=("PERSISTENCE_DATA_PATH",),
    ),
    # time series, dashboards, columns
    Database(
        images=("influxdb",),
        directories=("/var/lib/influxdb", "/var/lib/influxdb2", "/var/lib/influxdb3"),
        variables=("INFLUXD_ENGINE_PATH", "INFLUXDB_DATA_DIR"),
        flags=("--data-dir", "--engine-path"),
    ),
    _bitnami("influxdb", directory="/bitnami/influxdb"),
    Database(
        images=("prometheus",),
        directories=("/prometheus",),
        flags=("--storage.tsdb.path",),
    ),
    _bitnami(
        "prometheus",
        directory="/opt/bitnami/prometheus/data",
        flags=("--storage.tsdb.path",),
    ),
    Database(
        images=("victoria-metrics", "vmstorage"),
        directories=("/victoria-metrics-data", "/storage"),
        flags=("-storageDataPath", "--storageDataPath"),
    ),
    Database(
        images=("grafana", "grafana-oss", "grafana-enterprise"),
        directories=("/var/lib/grafana",),
        variables=("GF_PATHS_DATA",),
    ),
    _bitnami("grafana", directory="/opt/bitnami/grafana/data", variables=("GF_PATHS_DATA",)),
    Database(images=("clickhouse-server", "clickhouse"), directories=("/var/lib/clickhouse",)),
    _bitnami("clickhouse", directory="/bitnami/clickhouse/data"),
    Database(
        images=("questdb",),
        directories=("/var/lib/questdb",),
        variables=("QDB_ROOT",),
    ),
    Database(images=("crate",), directories=("/data",)),
    # objects, and servers with a database inside
    Database(images=("minio",), directories=(), anywhere=True),
    Database(images=("gitea", "forgejo", "gogs"), directories=("/data", "/var/lib/gitea")),
    _bitnami("gitea", directory="/bitnami/gitea"),
    Database(images=("jenkins/jenkins",), directories=("/var/jenkins_home",)),
    Database(images=("openldap",), directories=("/var/lib/ldap", "/bitnami/openldap")),
)
"""Every image that is known to keep data; a name that stands here is never met by an exporter's,
an operator's or a client's, which are called otherwise."""

_ANYBODYS: Final = frozenset(
    {"/data", "/datalog", "/storage", "/kafka", "/dgraph", "/default.etcd"}
)
"""Directories of the table that say nothing about whose data is in them."""

_PARENTS: Final = frozenset({"/bitnami", "/var/lib"})
"""Right below these a parent of such a directory tells as much as itself."""


def _telling() -> Mapping[str, tuple[str, ...]]:
    told: dict[str, tuple[str, ...]] = {}
    for directory in {one for database in DATABASES for one in database.directories} - _ANYBODYS:
        parts = directory.split("/")
        paths = ["/".join(parts[:end]) for end in range(2, len(parts) + 1)]
        parent = next((i for i, path in enumerate(paths) if path in _PARENTS), len(paths) - 2)
        for path in paths[parent + 1 :]:
            told[path] = (*told.get(path, ()), directory)
    return MappingProxyType(told)


TELLING: Final[Mapping[str, tuple[str, ...]]] = _telling()
"""Where a volume is mounted -> which data directories of databases lie there, whatever the image
is called."""


def _indexed() -> Mapping[str, Database]:
    return MappingProxyType(
        {
            image: database
            for database in DATABASES
            for image in database.images
            if database.up_to is None
        }
    )


_BY_IMAGE: Final = _indexed()
_EARLIER: Final[Mapping[str, Database]] = MappingProxyType(
    {image: one for one in DATABASES for image in one.images if one.up_to is not None}
)

_VERSION: Final = re.compile(r"(?:.*-)?pg(\d{1,4})(?:\D|$)|(\d{1,4})(?:\D|$)")
"""The server's version in a tag: ``16.3-alpine``, ``latest-pg16``."""

_TAGGED_BY_SERVER: Final = frozenset({"postgres", "postgis"})
"""Images whose tags begin with it."""


@lru_cache(maxsize=4096)
def database_of(image: str) -> Database | None:
    """The database that an image is, or None.

    Neither registry nor tag nor digest counts: ``mirror.example:5000/library/postgres:16@sha256:…``
    is ``postgres``.
    """
    path = image.partition("@")[0].split("/")
    name, _, tag = path[-1].lower().partition(":")
    publisher = path[-2].lower() if len(path) > 1 else ""
    if (earlier := _EARLIER.get(f"{publisher}/{name}") or _EARLIER.get(name)) is not None:
        version = _version(tag, name)
        if version is not None and earlier.up_to is not None and version <= earlier.up_to:
            return earlier
    return _BY_IMAGE.get(f"{publisher}/{name}") or _BY_IMAGE.get(name)


def _version(tag: str, name: str) -> int | None:
    """The server's version that a tag names; extensions have a version of their own before it."""
    found = _VERSION.match(tag)
    if found is None:
        return None
    of_server, first = found.groups()
    if of_server is None and name not in _TAGGED_BY_SERVER:
        return None
    return int(of_server or first)
