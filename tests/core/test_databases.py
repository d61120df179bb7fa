"""Which images are databases: whatever stands around their name, and nothing that is only alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleeper.core.databases import DATABASES, TELLING, database_of

AROUND = [
    "{}",
    "{}:16.2-alpine",
    "docker.io/library/{}:latest",
    "library/{}",
    "localhost/{}",
    "registry.example:5000/{}",
    "registry.example:5000/mirror/of/{}:1",
    "registry.example/team/{}@sha256:" + "0" * 64,
    "registry.example:5000/team/{}:1@sha256:" + "0" * 64,
]


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("image", ["postgres", "mysql", "redis", "mongo", "elasticsearch"])
def test_neither_registry_nor_tag_nor_digest_hides_a_database(around: str, image: str) -> None:
    found = database_of(around.format(image))
    assert found is not None
    assert image in found.images


@pytest.mark.parametrize("around", AROUND)
def test_the_publisher_tells_where_its_flavour_keeps_data(around: str) -> None:
    found = database_of(around.format("bitnami/mysql"))
    assert found is not None
    assert found.directories == ("/bitnami/mysql/data",)


@pytest.mark.parametrize(
    "image",
    [
        "",
        "/",
        ":",
        "@",
        "registry.example/app:1",
        "registry.example:5000/app",
        "postgres.example/app",
        "postgres/app:postgres",
        "redis.example:6379/app@sha256:postgres",
        "prometheuscommunity/postgres-exporter:v0.15.0",
        "oliver006/redis_exporter",
        "percona/mongodb_exporter",
        "dpage/pgadmin4",
        "bitnami/pgbouncer",
        "bitnami/redis-sentinel",
        "zalando/postgres-operator",
        "mongo-express",
        "phpmyadmin",
        "natsio/nats-box",
        "memcached:1.6",
        "grafana/promtail",
        "quay.io/prometheus/node-exporter",
    ],
)
def test_what_is_only_called_alike_is_no_database(image: str) -> None:
    assert database_of(image) is None


@given(st.text(max_size=80))
def test_any_text_is_an_image_or_none(image: str) -> None:
    database_of(image)


def test_the_table_has_each_image_once_and_says_of_each_where_its_data_is() -> None:
    images = [(image, database.up_to) for database in DATABASES for image in database.images]
    assert len(images) == len(set(images))
    for database in DATABASES:
        assert database.directories or database.anywhere
        assert all(path.startswith("/") and path[-1] != "/" for path in database.directories)
        assert all(image == image.lower() for image in database.images)


def test_where_a_volume_is_mounted_tells_a_database_only_if_it_could_be_nothing_else() -> None:
    for path in ("/var/lib/mysql", "/var/lib/postgresql", "/bitnami/redis", "/data/db"):
        assert path in TELLING
    for path in ("/", "/data", "/var", "/var/lib", "/bitnami", "/tmp", "/opt/bitnami", "/root"):
        assert path not in TELLING
