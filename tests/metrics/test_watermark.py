"""Steps of the watermark's state machine, one by one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from metrics.core.unheard import Known, Unheard
from metrics.core.watermark import (
    Blindness,
    CanaryReturn,
    GapReason,
    LossReading,
    ServerSight,
    SightLimits,
    blindness,
    canary_returned,
    clock_stepped,
    events_missing,
    first_sight,
    loss_read,
    settle,
    sink_died,
    streams_compared,
    trusted_until,
)

START = datetime(2026, 11, 21, tzinfo=UTC)
LIMITS = SightLimits(
    retry_horizon=timedelta(seconds=60),
    canary_timeout=timedelta(seconds=180),
    max_clock_offset=timedelta(seconds=5),
    max_clock_step=timedelta(seconds=2),
)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def canary(sent: float, returned: float, *, offset: float = 0.0) -> CanaryReturn:
    return CanaryReturn(
        sent_at=at(sent),
        answered_at=at(sent + 0.1),
        returned_at=at(returned),
        server_received_at=at(sent + 0.05 + offset),
    )


def reading(sent: float, *, lost: float = 0.0, started: float = 0.0) -> LossReading:
    return LossReading(
        sent_at=at(sent), received_at=at(sent + 0.5), lost=lost, process_started=started
    )


def seeing() -> ServerSight:
    """First start at 0, all well from 1 on."""
    sight, _ = loss_read(first_sight(at(0)), reading(0), LIMITS)
    sight, _ = canary_returned(sight, canary(1, 2), at(2), LIMITS)
    return sight


def test_nothing_is_known_before_the_first_canary() -> None:
    sight = first_sight(at(0))
    assert blindness(sight, at(1), LIMITS) is not None
    assert sight.watermark is None


def test_what_was_before_the_first_canary_is_a_gap() -> None:
    sight = seeing()
    assert sight.gap_end == at(1)
    assert blindness(sight, at(3), LIMITS) is None


def test_a_canary_alone_does_not_open_the_eyes() -> None:
    sight, _ = canary_returned(first_sight(at(0)), canary(1, 2), at(2), LIMITS)
    assert blindness(sight, at(3), LIMITS) is not None


def test_a_canary_settles_one_horizon_after_its_return() -> None:
    sight, _ = canary_returned(seeing(), canary(62, 63), at(63), LIMITS)
    sight, _ = loss_read(sight, reading(61.9), LIMITS)
    assert settle(sight, at(70), LIMITS).watermark is None
    sight, _ = loss_read(sight, reading(64), LIMITS)
    assert settle(sight, at(70), LIMITS).watermark == at(1)


def test_the_watermark_is_never_later_than_the_last_canarys_sending_less_the_horizon() -> None:
    sight, _ = loss_read(seeing(), reading(500), LIMITS)
    assert settle(sight, at(500), LIMITS).watermark is None


def test_the_watermark_waits_for_every_sink_to_flush() -> None:
    sight, _ = canary_returned(seeing(), canary(100, 101), at(101), LIMITS)
    sight, _ = loss_read(sight, reading(100), LIMITS)
    assert settle(sight, at(61), LIMITS).watermark is None
    assert settle(sight, at(62), LIMITS).watermark == at(1)


def test_a_growing_loss_counter_is_a_gap_from_the_horizon_before_to_the_reading() -> None:
    sight, gaps = loss_read(seeing(), reading(100, lost=3), LIMITS)
    (gap,) = gaps
    assert (gap.reason, gap.since, gap.until) == (GapReason.EVENTS_LOST, at(-60), at(100.5))
    assert sight.gap_end == at(100.5)
    _, gaps = loss_read(sight, reading(110, lost=3), LIMITS)
    assert gaps == ()


def test_a_new_process_is_a_gap() -> None:
    _, gaps = loss_read(seeing(), reading(100, started=90), LIMITS)
    assert [gap.reason for gap in gaps] == [GapReason.APISERVER_RESTARTED]


def test_a_start_time_that_jitters_is_the_same_process() -> None:
    _, gaps = loss_read(seeing(), reading(100, started=1.0), LIMITS)
    assert gaps == ()


def test_an_overlapping_reading_of_another_replica_says_nothing() -> None:
    sight, gaps = loss_read(seeing(), replace(reading(0.2), lost=9), LIMITS)
    assert gaps == ()
    assert sight.loss == reading(0)


def test_a_dead_sink_blinds_until_a_canary_that_was_sent_after_its_death() -> None:
    sight = sink_died(seeing(), at(100))
    assert blindness(sight, at(100), LIMITS) is not None
    sight, gaps = canary_returned(sight, canary(99, 103), at(103), LIMITS)
    assert gaps == ()
    sight, gaps = canary_returned(sight, canary(104, 105), at(105), LIMITS)
    assert [(gap.reason, gap.until) for gap in gaps] == [(GapReason.SINK_DIED, at(104))]
    assert sight.gap_end == at(104)
    assert blindness(sight, at(106), LIMITS) is None


def test_missing_canaries_are_unknown_but_no_gap() -> None:
    sight, _ = loss_read(seeing(), reading(100), LIMITS)
    assert blindness(sight, at(181), LIMITS) is None
    found = blindness(sight, at(182), LIMITS)
    assert found is not None
    assert found[0] is Blindness.CANARY_MISSING
    sight, gaps = canary_returned(sight, canary(300, 301), at(301), LIMITS)
    assert gaps == ()


def test_unread_loss_counters_are_unknown() -> None:
    sight, _ = canary_returned(seeing(), canary(300, 301), at(301), LIMITS)
    found = blindness(sight, at(301), LIMITS)
    assert found is not None
    assert found[0] is Blindness.LOSS_COUNTER_UNREAD


def test_a_clock_too_far_off_is_unknown_and_moves_nothing() -> None:
    far = canary(100, 101, offset=8.0)
    sight, gaps = canary_returned(seeing(), far, at(101), LIMITS)
    assert [gap.reason for gap in gaps] == [GapReason.APISERVER_CLOCK_STEP]
    sight, _ = loss_read(sight, reading(101), LIMITS)
    found = blindness(sight, at(101), LIMITS)
    assert found is not None
    assert found[0] is Blindness.CLOCK_OFFSET
    assert far not in sight.unsettled


def test_the_measured_offset_brings_times_to_our_clock_at_their_latest() -> None:
    offset = canary(100, 101, offset=3.0).offset
    true_time = 100.0
    assert at(true_time) <= offset.latest(at(true_time + 3.0)) <= at(true_time + 0.1)


def test_our_clock_set_back_does_not_make_anything_older() -> None:
    sight, _ = canary_returned(seeing(), canary(100, 101), at(101), LIMITS)
    sight, _ = loss_read(sight, reading(101), LIMITS)
    sight = settle(sight, at(101), LIMITS)
    back, gaps = clock_stepped(sight, before=at(200), now=at(-3400))
    assert [gap.until for gap in gaps] == [at(200)]
    assert back.gap_end == at(200)
    assert blindness(back, at(-3400), LIMITS) is not None
    back, gaps = loss_read(back, reading(-3390), LIMITS)
    assert gaps == ()
    assert back.loss == reading(-3390)


def test_our_clock_set_forward_is_a_gap_to_the_new_time() -> None:
    sight, _ = clock_stepped(seeing(), before=at(10), now=at(3610))
    assert sight.gap_end == at(3610)


def test_a_canary_under_way_while_the_clock_is_set_back_proves_nothing() -> None:
    back, _ = clock_stepped(seeing(), before=at(10), now=at(-100))
    assert canary_returned(back, canary(9, -99), at(-99), LIMITS) == (back, ())


def test_a_shed_batch_is_a_gap_to_its_arrival() -> None:
    sight, gaps = events_missing(seeing(), GapReason.SHED, since=None, until=at(50))
    assert sight.gap_end == at(50)
    assert len(gaps) == 1


def test_a_state_survives_being_written_down() -> None:
    sight, _ = canary_returned(seeing(), canary(100, 101), at(101), LIMITS)
    assert msgspec.json.decode(msgspec.json.encode(sight), type=ServerSight) == sight


@pytest.mark.fault(10)
def test_nothing_is_trusted_beyond_a_gap_until_its_streams_are_counted() -> None:
    counted = ServerSight(watermark=at(100), gap_end=at(50), unheard=Unheard(compared_at=at(50)))
    assert trusted_until(counted) == at(100)
    waiting = replace(counted, unheard=Unheard(compared_at=at(49)))
    assert trusted_until(waiting) == at(50)
    assert trusted_until(replace(waiting, watermark=at(40))) == at(40)
    assert trusted_until(replace(waiting, gap_end=None)) == at(100)
    assert trusted_until(replace(counted, unheard=Unheard())) == at(50)


@pytest.mark.fault(10)
def test_after_a_long_lag_what_is_known_is_looked_at_once() -> None:
    """Canaries were late for half an hour: hundreds of readings have waited for the watermark."""
    sight = seeing()
    for number in range(150):
        counted = replace(reading(10 + number), open={"pods/exec": 1 + number})
        sight, _ = loss_read(sight, counted, LIMITS)
    sight = replace(sight, watermark=at(155))
    asked: list[LossReading] = []

    def known(one: LossReading) -> Known:
        asked.append(one)
        return Known(surely={}, maybe={})

    sight = streams_compared(sight, known, timedelta(hours=4))
    assert [one.sent_at for one in asked] == [at(154)]
    assert [one.sent_at for one in sight.uncompared] == [at(155 + n) for n in range(5)]
    assert sight.unheard.cohorts[0].counts == {"pods/exec": 145}


@pytest.mark.fault(10)
def test_however_often_canaries_and_readings_come_the_signal_sees() -> None:
    """More of them than are remembered come within the horizon."""
    sight = seeing()
    for number in range(20_000):
        sent = 2 + number * 0.02
        counted = replace(reading(sent), received_at=at(sent + 0.01), open={})
        sight, _ = loss_read(sight, counted, LIMITS)
        sight, _ = canary_returned(sight, canary(sent, sent + 1), at(sent + 1), LIMITS)
        if not number % 50:
            sight = settle(sight, at(sent), LIMITS)
            sight = streams_compared(
                sight, lambda _: Known(surely={}, maybe={}), timedelta(hours=4)
            )
    last = 2 + 20_000 * 0.02
    assert sight.watermark is not None
    assert at(last - 90) < sight.watermark < at(last - 60)
    assert sight.unheard.compared_at is not None
    assert sight.unheard.compared_at > at(last - 120)
    assert trusted_until(sight) == sight.watermark
