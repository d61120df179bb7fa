"""Reading an API server's loss counters."""

from __future__ import annotations

import pytest

from sleeper.control.canary import CounterError, parse_counters

METRICS = b"""\
# HELP apiserver_audit_error_total [ALPHA] Counter of audit events that failed to be audited.
# TYPE apiserver_audit_error_total counter
apiserver_audit_error_total{plugin="buffered"} 3
apiserver_audit_error_total{plugin="log"} 100
apiserver_audit_error_total{plugin="webhook"} 4e+01
# HELP apiserver_audit_event_total [ALPHA] Counter of audit events generated.
# TYPE apiserver_audit_event_total counter
apiserver_audit_event_total 4711
apiserver_audit_error_total_of_another_family 5
process_start_time_seconds 1.795e+09
"""


def test_losses_are_summed_over_everything_that_sends_to_us() -> None:
    assert parse_counters(METRICS) == (43.0, 1.795e9)


def test_no_loss_yet_is_no_series_and_zero() -> None:
    lines = [line for line in METRICS.splitlines(keepends=True) if b"error_total" not in line]
    assert parse_counters(b"".join(lines)) == (0.0, 1.795e9)


@pytest.mark.parametrize("family", [b"apiserver_audit_event_total", b"process_start_time_seconds"])
def test_text_of_something_else_is_refused(family: bytes) -> None:
    with pytest.raises(CounterError, match="/metrics lacks"):
        parse_counters(METRICS.replace(family, b"other"))


def test_a_sample_that_is_no_number_is_refused() -> None:
    with pytest.raises(CounterError, match="without a number"):
        parse_counters(METRICS.replace(b"4711", b"many"))


def test_text_that_is_cut_off_in_the_last_line_is_read_as_far_as_it_goes() -> None:
    assert parse_counters(METRICS.rstrip(b"\n")) == (43.0, 1.795e9)
