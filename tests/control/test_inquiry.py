"""Questions about Spaces: answered once it is known what sleeps, and without a trace."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta

import aiohttp
import msgspec
import pytest

from billing.core.statement import Statement, StatementQuery
from metrics.instruments import PrometheusRecorder
from sleeper.api.app import build_app
from sleeper.control.assess import Assessor, rules_fingerprint
from sleeper.control.book import SpaceBook
from sleeper.control.inquiry import Inquiry
from sleeper.control.signals import SignalBoard
from sleeper.core.objects import Namespace, SpaceObjects
from sleeper.core.policy import PolicyDefaults
from sleeper.core.power import PowerState
from sleeper.core.reasons import Reason
from sleeper.core.record import FreedRequests, SleepRecord
from sleeper.errors import NotReadyError
from sleeper.store.spaces import SpaceState
from sleeper.telemetry.clock import SystemClock
from tests.control.test_loop import Cluster, SetClock
from tests.core.values import NOW
from tests.support.serving import served

OLD = SpaceState(rules="others", rules_since=NOW - timedelta(days=3))
SLEEPING = SleepRecord(
    space_uid="u-shop",
    space_name="shop",
    tenant="acme",
    epoch=1,
    phase=PowerState.ASLEEP,
    reason=Reason.IDLE,
    horizon=NOW,
    decided_at=NOW,
    sleeping_since=NOW,
    entries=(),
    freed=FreedRequests(cpu_millis=0, memory_bytes=0, pods=0),
)


class NoStatements:
    async def statement(self, query: StatementQuery) -> Statement:
        raise NotImplementedError


class Desk:
    """An inquiry over two namespaces, one of them no Space (any more)."""

    def __init__(self) -> None:
        self.cluster = Cluster(objects=dict(self._objects()))
        self.book = SpaceBook({"u-shop": OLD, "u-left": OLD})
        self.unknown: str | None = None
        self.clock = SetClock(NOW)
        self.assessor = Assessor(
            inventory=self.cluster,
            records=self.cluster,
            board=SignalBoard({}, None),
            book=self.book,
            routes=None,
            defaults=PolicyDefaults(),
            protected_because=lambda _name: None,
            sleep_deadline=timedelta(minutes=10),
        )
        self.inquiry = Inquiry(self.assessor, self, unknown=lambda: self.unknown, clock=self.clock)

    @staticmethod
    def _objects() -> Iterator[tuple[str, SpaceObjects]]:
        for name, labels in (("shop", {"sleeper.dev/tenant": "acme"}), ("left", {})):
            whole = {
                "namespace": {"metadata": {"name": name, "uid": f"u-{name}", "labels": labels}},
                "deployments": [{"metadata": {"name": "web", "uid": "w"}, "spec": {"replicas": 2}}],
            }
            yield name, msgspec.convert(whole, SpaceObjects)

    def namespaces(self) -> Iterable[Namespace]:
        return [objects.namespace for objects in self.cluster.objects.values()]

    def ask(self) -> None:
        """Everything that can be asked."""
        self.inquiry.overview()
        for name in (*self.cluster.objects, "nobody"):
            self.inquiry.explanation(name)


@pytest.mark.fault(13)
def test_asking_about_spaces_that_were_never_looked_at_changes_nothing() -> None:
    desk = Desk()
    desk.ask()
    assert desk.book.pages() == {}
    assert desk.book.take_unsaved() == {}
    assert sorted(desk.book.uids()) == ["u-left", "u-shop"], "nothing is forgotten either"


@pytest.mark.fault(13)
@pytest.mark.parametrize("record", [SLEEPING, None])
def test_asking_changes_nothing_of_what_the_loop_remembers(record: SleepRecord | None) -> None:
    """What the asker sees is news to the page: it has begun, or ended, to sleep since."""
    desk = Desk()
    if record is None:
        desk.cluster.records["u-shop"] = SLEEPING
    assert desk.assessor.observe("shop", NOW) is not None
    page = desk.book.pages()["u-shop"]
    page.noticed_at = NOW
    desk.book.take_unsaved()
    desk.cluster.records = {} if record is None else {"u-shop": record}
    desk.clock.at += timedelta(minutes=1)
    before = copy.deepcopy(page)
    desk.ask()
    assert page == before
    assert desk.book.take_unsaved() == {}


def test_who_asks_sees_what_the_loop_will_see() -> None:
    desk = Desk()
    asked = desk.assessor.assess("shop", NOW)
    decided = desk.assessor.observe("shop", NOW)
    assert asked is not None
    assert decided is not None
    assert asked == replace(decided, page=asked.page)
    assert asked.page == decided.page
    assert asked.page is not decided.page
    assert decided.page.state == SpaceState(
        rules=rules_fingerprint([], [], decided.reading.policy.required_signals.value),
        rules_since=NOW,
    )


def test_what_is_no_space_any_more_is_forgotten_by_the_loop_alone() -> None:
    desk = Desk()
    assert desk.assessor.observe("left", NOW) is None
    assert desk.book.take_unsaved() == {"u-left": None}


@pytest.mark.fault(13)
async def test_the_read_api_answers_503_with_a_sentence_until_it_is_known_what_sleeps() -> None:
    desk = Desk()
    desk.cluster.records["u-shop"] = SLEEPING
    desk.unknown = "the sleep records are not listed yet (403 Forbidden)"
    app = build_app(
        spaces=desk.inquiry,
        statements=NoStatements(),
        live={},
        ready={},
        metrics=PrometheusRecorder(SystemClock()).aiohttp_handler(),
        clock=desk.clock,
    )
    async with served(app) as port, aiohttp.ClientSession() as session:
        for path in ("", "/shop", "/nobody"):
            url = f"http://127.0.0.1:{port}/api/v1/spaces{path}"
            async with session.get(url) as answer:
                assert answer.status == 503, path
                assert (await answer.json())["detail"] == (
                    "nothing can be said of Spaces yet: "
                    "the sleep records are not listed yet (403 Forbidden)"
                )
        desk.unknown = None
        async with session.get(f"http://127.0.0.1:{port}/api/v1/spaces") as answer:
            assert answer.status == 200
            (line,) = (await answer.json())["spaces"]
            assert line["power_state"] == "Asleep"


def test_a_question_that_cannot_be_answered_yet_does_not_reach_the_assessor() -> None:
    desk = Desk()
    desk.unknown = "the namespaces are not listed yet"
    with pytest.raises(NotReadyError, match="the namespaces are not listed yet"):
        desk.inquiry.overview()
    with pytest.raises(NotReadyError, match="the namespaces are not listed yet"):
        desk.inquiry.explanation("shop")
