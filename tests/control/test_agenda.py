from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from sleeper.control.agenda import Agenda

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: int) -> datetime:
    return START + timedelta(seconds=seconds)


def test_news_is_due_at_once_and_before_what_time_brings() -> None:
    agenda = Agenda()
    agenda.set("timed", at(5))
    agenda.tell(["news"])
    assert agenda.take_due(at(10)) == ("news", "timed")
    assert agenda.take_due(at(10)) == ()


def test_setting_none_leaves_only_news() -> None:
    agenda = Agenda()
    agenda.set("a", at(1))
    agenda.set("a", None)
    assert agenda.next_at() is None
    assert agenda.take_due(at(100)) == ()


def test_being_told_takes_the_older_appointment_off_the_agenda() -> None:
    agenda = Agenda()
    agenda.set("a", at(50))
    agenda.tell(["a"])
    assert agenda.take_due(at(1)) == ("a",)
    assert agenda.next_at() is None


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.one_of(st.none(), st.integers(0, 100))),
        max_size=400,
    )
)
def test_the_agenda_holds_just_the_last_instant_set_for_each_key(
    settings: list[tuple[str, int | None]],
) -> None:
    agenda = Agenda()
    model: dict[str, int] = {}
    for key, instant in settings:
        agenda.set(key, None if instant is None else at(instant))
        if instant is None:
            model.pop(key, None)
        else:
            model[key] = instant
    assert agenda.next_at() == (at(min(model.values())) if model else None)
    for now in range(0, 101, 10):
        due = {key for key, instant in model.items() if instant <= now}
        assert set(agenda.take_due(at(now))) == due
        for key in due:
            del model[key]
