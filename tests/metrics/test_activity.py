"""The fold of activity: order, duplicates and replays do not matter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from metrics.core.activity import TOUCHERS, SpaceActivity
from metrics.core.signals import Activity, ActorClass, SignalName

START = datetime(2026, 11, 21, tzinfo=UTC)

ACTIVITIES = st.builds(
    Activity,
    at=st.integers(0, 5).map(lambda n: START + timedelta(seconds=n)),
    signal=st.sampled_from(SignalName),
    source=st.sampled_from(["a", "b"]),
    actor=st.sampled_from(ActorClass),
    verb=st.sampled_from(["get", "create"]),
    resource=st.just("pods"),
)
FOLDS = st.lists(ACTIVITIES, min_size=1, max_size=6).map(
    lambda activities: fold([SpaceActivity.of(one) for one in activities])
)


def fold(seen: list[SpaceActivity]) -> SpaceActivity:
    merged = seen[0]
    for one in seen[1:]:
        merged = merged.merge(one)
    return merged


@given(FOLDS, FOLDS, FOLDS)
def test_merging_is_commutative_associative_and_idempotent(
    a: SpaceActivity, b: SpaceActivity, c: SpaceActivity
) -> None:
    assert a.merge(b) == b.merge(a)
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(a) is a
    assert a.merge(b).merge(b) == a.merge(b)


@given(FOLDS, FOLDS)
def test_merging_never_moves_back(a: SpaceActivity, b: SpaceActivity) -> None:
    merged = a.merge(b)
    assert merged.latest.at == max(a.latest.at, b.latest.at)
    touches = [seen.touch.at for seen in (a, b) if seen.touch is not None]
    assert (merged.touch and merged.touch.at) == max(touches, default=None)


@given(st.lists(ACTIVITIES, min_size=1))
def test_only_people_and_deployers_touch(activities: list[Activity]) -> None:
    merged = fold([SpaceActivity.of(one) for one in activities])
    touching = [one.at for one in activities if one.actor in TOUCHERS]
    assert (merged.touch and merged.touch.at) == max(touching, default=None)
