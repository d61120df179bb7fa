"""The traffic signal's arithmetic: what raw samples prove, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.core.traffic import (
    Hole,
    RequestFold,
    Sample,
    Series,
    Sight,
    Target,
    scrape_times,
    sight,
)
from metrics.core.traffic_stretch import ClockOffset, Mark, Stretch, stretch

LABELS = ("exported_service", "service")
A = {"job": "ingress", "instance": "10.0.0.1:9100"}
B = {"job": "ingress", "instance": "10.0.0.2:9100"}


def series(labels: dict[str, str], *samples: tuple[float, float]) -> Series:
    return Series(labels=labels, samples=[Sample(*sample) for sample in samples])


def alive(target: dict[str, str], *times: float) -> Series:
    return series(target, *((at, 1.0) for at in times))


def started(target: dict[str, str], *samples: tuple[float, float]) -> Series:
    return series(target, *samples)


def used(
    *counters: Series, begin: float = 100.0, scrapes: Sequence[float] = ()
) -> dict[str, float]:
    fold = RequestFold(
        begin=begin,
        service_labels=LABELS,
        scrapes={counter.target: list(scrapes) for counter in counters},
    )
    fold.feed(counters)
    return fold.latest


def look(
    *,
    begin: float = 100.0,
    end: float = 130.0,
    alive: Sequence[Series],
    starts: Sequence[Series] | None = None,
    listed: Sequence[dict[str, str]] = (A,),
) -> Sight:
    if starts is None:
        starts = [series(dict(s.labels), *((at, 50.0) for at, _ in s.samples)) for s in alive]
    return sight(
        begin=begin,
        end=end,
        stale_after_seconds=30.0,
        alive=alive,
        starts=starts,
        listed=frozenset(Target(target["job"], target["instance"]) for target in listed),
    )


class TestUse:
    def test_a_counter_that_grew_was_used_at_the_scrape_that_shows_it(self) -> None:
        counter = series({"service": "web"}, (95, 7), (110, 7), (125, 8), (140, 8))
        assert used(counter) == {"web": 125}

    def test_a_counter_that_stands_still_was_not_used(self) -> None:
        assert used(series({"service": "web"}, (95, 7), (110, 7), (125, 7))) == {}

    def test_the_first_request_of_a_new_series_counts(self) -> None:
        assert used(series({"service": "web"}, (125, 1))) == {"web": 125}

    def test_a_series_that_appears_at_zero_was_not_used(self) -> None:
        assert used(series({"service": "web"}, (125, 0), (140, 0))) == {}

    def test_a_value_that_the_reading_before_has_seen_is_not_told_again(self) -> None:
        assert used(series({"service": "web"}, (85, 6), (95, 7), (110, 7))) == {}
        assert used(series({"service": "web"}, (95, 7), (110, 7))) == {}

    def test_a_counter_that_was_reset_and_counted_again_was_used(self) -> None:
        assert used(series({"service": "web"}, (95, 7), (110, 2))) == {"web": 110}

    def test_a_counter_that_was_reset_to_zero_was_not_used(self) -> None:
        assert used(series({"service": "web"}, (95, 7), (110, 0))) == {}

    def test_a_series_that_was_gone_and_is_back_with_the_same_value_was_used(self) -> None:
        counter = series(A | {"service": "web"}, (95, 1), (125, 1))
        assert used(counter, scrapes=(95, 110, 125)) == {"web": 125}

    def test_a_scrape_hole_alone_is_no_use(self) -> None:
        counter = series(A | {"service": "web"}, (95, 1), (395, 1))
        assert used(counter, scrapes=(95, 395)) == {}

    def test_the_label_that_the_scrape_renamed_is_the_service(self) -> None:
        counter = series({"service": "traefik", "exported_service": "web"}, (95, 1), (110, 2))
        assert used(counter) == {"web": 110}

    def test_the_latest_of_all_series_of_a_service_counts(self) -> None:
        first = series({"service": "web", "code": "200"}, (95, 1), (110, 2), (125, 2))
        second = series({"service": "web", "code": "304"}, (95, 1), (110, 1), (125, 2))
        assert used(second, first) == {"web": 125}


class _Request(NamedTuple):
    at: float
    service: int


class TestUseOfAnyTraffic:
    """Against an oracle that knows when each request really came."""

    @given(
        requests=st.lists(
            st.builds(_Request, at=st.floats(0, 600), service=st.integers(0, 2)), max_size=12
        ),
        interval=st.sampled_from([5, 15, 30]),
        down=st.tuples(st.integers(0, 600), st.integers(0, 200)),
        cuts=st.lists(st.floats(1, 599), max_size=4),
    )
    def test_every_request_is_credited_at_its_first_scrape_however_the_time_is_cut(
        self,
        requests: list[_Request],
        interval: int,
        down: tuple[int, int],
        cuts: list[float],
    ) -> None:
        scrapes = [
            float(at)
            for at in range(0, 601, interval)
            if not down[0] <= at < down[0] + down[1] or at == 0
        ]
        counters = {
            service: [
                Sample(at, float(count))
                for at in scrapes
                if (count := sum(r.service == service and r.at <= at for r in requests))
            ]
            for service in range(3)
        }
        expected = {
            f"s{service}": max(shown)
            for service in range(3)
            if (
                shown := [
                    next(at for at in scrapes if at >= r.at)
                    for r in requests
                    if r.service == service and r.at <= scrapes[-1]
                ]
            )
        }
        fold = RequestFold(
            begin=-1.0,
            service_labels=LABELS,
            scrapes={Target("ingress", "10.0.0.1:9100"): scrapes},
        )
        edges = [-1.0, *sorted(cuts), 600.0]
        for since, until in pairwise(edges):
            fold.feed(
                Series(
                    labels=A | {"service": f"s{service}"},
                    # pieces join by rounded instants, so a sample at an edge may come twice
                    samples=[sample for sample in samples if since <= sample.at <= until],
                )
                for service, samples in counters.items()
            )
        assert fold.latest == expected


class TestSight:
    def test_the_watermark_is_the_oldest_targets_newest_sample(self) -> None:
        seen = look(alive=[alive(A, 90, 105, 120), alive(B, 98, 113, 128)], listed=(A, B))
        assert seen == Sight(watermark=120, holes=(), blindness=None)

    def test_nothing_at_all_is_not_idleness(self) -> None:
        seen = look(alive=[])
        assert seen.watermark is None
        assert seen.blindness is not None
        assert seen.blindness.reason == "NoTrafficTarget"

    def test_a_target_that_is_down_holds_the_watermark_and_is_stale_in_the_end(self) -> None:
        both = [alive(A, 90, 100), alive(B, 98, 113, 128)]
        seen = look(alive=both, listed=(A, B))
        assert (seen.watermark, seen.holes, seen.blindness) == (100, (), None)
        seen = look(alive=both, listed=(A, B), end=131)
        assert seen.watermark == 100
        assert seen.blindness is not None
        assert seen.blindness.reason == "TrafficTargetStale"
        assert "10.0.0.1:9100" in seen.blindness.detail

    def test_a_scrape_hole_in_which_the_process_lived_on_is_lag(self) -> None:
        seen = look(end=700, alive=[alive(A, 85, 100, 685, 700)])
        assert seen == Sight(watermark=700, holes=(), blindness=None)

    def test_a_restart_is_a_gap_up_to_the_first_sample_of_the_new_process(self) -> None:
        seen = look(
            alive=[alive(A, 90, 100, 115, 130)],
            starts=[started(A, (90, 50), (100, 50), (115, 107), (130, 107))],
        )
        assert seen.holes == (Hole(begin=100, end=115, reason="ExporterRestarted"),)
        assert seen.watermark == 130
        assert seen.blindness is None

    def test_a_restart_that_an_earlier_reading_has_told_is_not_told_again(self) -> None:
        seen = look(
            begin=120,
            alive=[alive(A, 100, 110, 120, 130)],
            starts=[started(A, (100, 50), (110, 107), (120, 107), (130, 107))],
        )
        assert seen.holes == ()

    def test_a_start_time_that_follows_a_clock_correction_is_no_restart(self) -> None:
        seen = look(alive=[alive(A, 100, 115)], starts=[started(A, (100, 50), (115, 51))])
        assert seen.holes == ()

    def test_a_restart_is_seen_when_the_replaced_pod_keeps_the_address(self) -> None:
        old, new = A | {"pod": "old"}, A | {"pod": "new"}
        seen = look(
            alive=[alive(new, 115, 130), alive(old, 90, 100)],
            starts=[started(new, (115, 107), (130, 107)), started(old, (90, 50), (100, 50))],
        )
        assert seen.holes == (Hole(begin=100, end=115, reason="ExporterRestarted"),)
        assert seen.watermark == 130

    def test_a_target_that_departs_takes_its_last_requests_with_it(self) -> None:
        seen = look(alive=[alive(A, 90, 105), alive(B, 98, 113, 128)], listed=(B,))
        assert seen.holes == (Hole(begin=105, end=130, reason="ExporterGone"),)
        assert seen.watermark == 128
        assert seen.blindness is None

    def test_a_target_that_departed_long_ago_is_told_once(self) -> None:
        seen = look(alive=[alive(A, 90), alive(B, 98, 113, 128)], listed=(B,))
        assert seen.holes == ()

    def test_without_any_target_the_watermark_waits(self) -> None:
        seen = look(alive=[alive(A, 90, 105)], listed=())
        assert (seen.watermark, seen.holes) == (None, ())
        assert seen.blindness is not None

    def test_a_new_target_beside_an_old_one_is_no_gap(self) -> None:
        seen = look(alive=[alive(A, 90, 105, 120), alive(B, 128)], listed=(A, B))
        assert seen == Sight(watermark=120, holes=(), blindness=None)

    def test_what_prometheus_has_forgotten_is_a_gap_up_to_its_first_sample(self) -> None:
        seen = look(end=700, alive=[alive(A, 685, 700)])
        assert seen.holes == (Hole(begin=100, end=685, reason="HistoryLost"),)
        assert seen.watermark == 700

    def test_what_was_forgotten_ends_when_the_last_target_is_known_again(self) -> None:
        seen = look(end=700, alive=[alive(A, 640, 700), alive(B, 685, 700)], listed=(A, B))
        assert seen.holes == (Hole(begin=100, end=685, reason="HistoryLost"),)

    def test_a_target_without_its_start_time_cannot_be_trusted(self) -> None:
        seen = look(alive=[alive(A, 100, 115)], starts=[])
        assert seen.watermark is None
        assert seen.blindness is not None
        assert seen.blindness.reason == "NoProcessStartTime"

    def test_the_watermark_never_goes_back(self) -> None:
        seen = look(begin=100, alive=[alive(A, 90, 105, 120), alive(B, 85, 95)], listed=(A, B))
        assert seen.watermark == 100

    @given(
        times=st.lists(st.integers(0, 300), min_size=1, unique=True).map(sorted),
        begin=st.integers(0, 300),
        end=st.integers(0, 300),
    )
    def test_the_watermark_lies_between_the_old_one_and_the_newest_sample(
        self, times: list[int], begin: int, end: int
    ) -> None:
        begin, end = sorted((begin, end))
        times = [at for at in times if at <= end] or [end]
        seen = look(begin=begin, end=end, alive=[alive(A, *times)])
        assert seen.watermark == max(begin, times[-1])
        for hole in seen.holes:
            assert begin <= hole.begin <= hole.end <= end


def test_scrape_times_are_put_in_order_for_each_target() -> None:
    found = scrape_times([alive(A | {"pod": "new"}, 5, 6), alive(A, 1, 2), alive(B, 3)])
    assert found == {
        Target("ingress", "10.0.0.1:9100"): [1, 2, 5, 6],
        Target("ingress", "10.0.0.2:9100"): [3],
    }


class TestClockOffset:
    @pytest.mark.parametrize("ahead", [-40.0, 0.0, 3.25])
    def test_instants_are_brought_to_our_clock_with_the_doubt_on_the_safe_side(
        self, ahead: float
    ) -> None:
        offset = ClockOffset.measured(sent=1000.0, received=1002.0, theirs=1001.0 + ahead)
        assert offset.ahead_seconds == pytest.approx(ahead)
        assert offset.earliest(2000.0 + ahead) == pytest.approx(1999.0)
        assert offset.latest(2000.0 + ahead) == pytest.approx(2001.0)

    @given(
        sent=st.floats(0, 1e6),
        trip=st.floats(0, 10),
        answered=st.floats(0, 1),
        ahead=st.floats(-100, 100),
    )
    def test_the_true_instant_lies_within_the_doubt(
        self, sent: float, trip: float, answered: float, ahead: float
    ) -> None:
        theirs = sent + answered * trip + ahead
        offset = ClockOffset.measured(sent=sent, received=sent + trip, theirs=theirs)
        true, tolerance = 5e5, 1e-6
        assert offset.earliest(true + ahead) <= true + tolerance
        assert offset.latest(true + ahead) >= true - tolerance


class TestStretch:
    """What the next reading covers."""

    def next(
        self, mark: Mark | None, *, end: float = 1000.0, ahead: float = 1.0, stepped: bool = False
    ) -> Stretch:
        return stretch(
            mark,
            end=end,
            ahead_seconds=ahead,
            stepped=stepped,
            max_step_seconds=2.0,
            reach_seconds=300.0,
        )

    def test_a_reading_begins_exactly_where_the_last_one_ended(self) -> None:
        found = self.next(Mark(at=985.123, ahead_seconds=1.0))
        assert found == Stretch(begin=985.123, end=1000.0)
        assert found.holes == ()

    def test_the_first_reading_looks_back_and_knows_nothing_of_before(self) -> None:
        found = self.next(None)
        assert (found.begin, found.end) == (700.0, 1000.0)
        assert found.holes == (Hole(begin=700.0, end=700.0, reason="FirstStart"),)

    def test_what_lies_too_far_back_is_a_gap(self) -> None:
        found = self.next(Mark(at=600.0, ahead_seconds=1.0))
        assert found.begin == 700.0
        assert [(hole.end, hole.reason) for hole in found.holes] == [(700.0, "TooFarBehind")]

    @pytest.mark.parametrize(
        ("mark", "stepped"),
        [
            (Mark(at=985.0, ahead_seconds=1.0), True),
            (Mark(at=985.0, ahead_seconds=3.5), False),
            (Mark(at=985.0, ahead_seconds=-1.5), False),
        ],
    )
    def test_a_step_of_either_clock_is_a_gap_up_to_now(self, mark: Mark, stepped: bool) -> None:
        found = self.next(mark, stepped=stepped)
        assert found.begin == 985.0
        assert [(hole.end, hole.reason) for hole in found.holes] == [(1000.0, "ClockStep")]

    def test_after_prometheus_was_set_back_everything_in_reach_is_read_again(self) -> None:
        found = self.next(Mark(at=1003.0, ahead_seconds=4.0))
        assert found.begin == 700.0
        assert [(hole.end, hole.reason) for hole in found.holes] == [(1000.0, "ClockStep")]


@pytest.mark.fault(11)
def test_an_answer_that_ends_with_its_pod_is_use_but_no_visit() -> None:
    """A WebSocket is counted when it closes; falling asleep closes it."""
    fold = RequestFold(
        begin=0.0, service_labels=("service",), scrapes={}, ends_with_its_pod={"code": "101"}
    )
    for code, at in (("200", 20.0), ("101", 50.0)):
        labels = {"service": "web", "code": code}
        fold.feed([Series(labels=labels, samples=[Sample(10.0, 0.0), Sample(at, 1.0)])])
    assert fold.latest == {"web": 50.0}
    assert fold.visits == {"web": 20.0}
