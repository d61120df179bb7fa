"""What the verdict loop remembers about each Space between two decisions.

Two facts survive a restart (when the present rules began, when it was last woken: table
``space_state``); the rest is rebuilt, always on the side of staying awake: a notice that was
running begins anew, a back-off is forgotten only together with the failure that caused it.

A Space that sleeps has no row. So its clock begins anew when it is next seen awake, whoever woke
it: another replica, a process that died before it could save, or somebody without any daemon.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from metrics.core.instants import LATEST, plus
from metrics.core.steps import Step
from sleeper.core.failures import Failures
from sleeper.core.fights import Reversals
from sleeper.core.policy import PolicyReading
from sleeper.core.record import SleepRecord
from sleeper.core.verdict import Verdict
from sleeper.store.spaces import SpaceState


@dataclass(slots=True, kw_only=True)
class SpacePage:
    """One Space's page; mutable, owned by the loop.

    Attributes:
        state: what is persisted: fingerprint of the rules, their start, the last waking.
        noticed_at: since when the owner has been told that sleep is near.
        retry_sleep_at: no sleep is tried before this instant, and failures in a row.
        alike: the last failures, as far as they were the same.
        no_flight_before: what is on record is not gone on with before this instant, because the
            last flight could not end it.
        reversals: sleeps that somebody undid at once.
        asked_at: since when ``desired: asleep`` has been seen to stand while it is awake.
        release_pending: a person used it in spite of ``desired: asleep``, which still stands.
        asleep: it was asleep when it was last looked at.
        slept: which sleep is on record: epoch and decision.
        ceiling: the record is of a time line that ended when the clock was set back: what it says
            was, was not later than this; None: its instants count as they stand.
        turned_back_at: the last visit that turned a sleep back and may have come after it.
        visits_doubted: nobody had used the Space since then when it was put to sleep again.
        verdict, policy: the last ones, for ``explain`` and for news worth telling.
    """

    state: SpaceState
    noticed_at: datetime | None = None
    retry_sleep_at: datetime | None = None
    failures: int = 0
    alike: Failures = field(default_factory=Failures)
    no_flight_before: datetime | None = None
    reversals: Reversals = field(default_factory=Reversals)
    asked_at: datetime | None = None
    release_pending: bool = False
    asleep: bool = False
    slept: tuple[int, datetime] | None = None
    ceiling: datetime | None = None
    turned_back_at: datetime | None = None
    visits_doubted: bool = False
    verdict: Verdict | None = None
    policy: PolicyReading | None = None


class SpaceBook:
    """The pages of all Spaces, by namespace uid, and which of them must be saved.

    Args:
        stored: what is on disk.
        began: when this process began to look; None: with its first look at each Space.
    """

    def __init__(self, stored: Mapping[str, SpaceState], *, began: datetime | None = None) -> None:
        self._stored = dict(stored)
        self._began = began
        self._pages: dict[str, SpacePage] = {}
        self._unsaved: set[str] = set()

    def page(
        self,
        uid: str,
        *,
        rules: str | None,
        record: SleepRecord | None,
        used_at: datetime | None = None,
        now: datetime,
    ) -> SpacePage:
        """The Space's page; where its rules are new or have changed, their clock starts now.

        Args:
            uid: of the namespace.
            rules: fingerprint of the present rules; None: not known at the moment.
            record: of the present sleep; None: there is none.
            used_at: latest proof of use; None: none is known.
            now: the instant of the look.
        """
        page = self._pages.get(uid)
        if page is None:
            stored = self._stored.pop(uid, None)
            page = self._pages[uid] = self._first_page(stored, rules, record, now)
            if page.state != stored:
                self._unsaved.add(uid)
        if _turn_to(page, rules=rules, record=record, used_at=used_at, now=now):
            self._unsaved.add(uid)
        return page

    def copy(
        self,
        uid: str,
        *,
        rules: str | None,
        record: SleepRecord | None,
        used_at: datetime | None = None,
        now: datetime,
    ) -> SpacePage:
        """A page like the one that :meth:`page` would give, for who only asks.

        Nothing is kept of it, and what is written on it is lost.
        """
        known = self._pages.get(uid)
        page = (
            replace(known) if known else self._first_page(self._stored.get(uid), rules, record, now)
        )
        _turn_to(page, rules=rules, record=record, used_at=used_at, now=now)
        return page

    def _first_page(
        self,
        stored: SpaceState | None,
        rules: str | None,
        record: SleepRecord | None,
        now: datetime,
    ) -> SpacePage:
        state = stored or SpaceState(rules=rules or "", rules_since=now)
        page = SpacePage(state=_not_after(state, now))
        if record is not None and _latest(record) > now:
            # The clock was set back before we began: whoever came since we did came later.
            page.slept, page.ceiling = _identity(record), self._began or now
        return page

    def step(self, step: Step) -> None:
        """The wall clock has stepped: bring what is noted here to the new time line.

        What measures a length of time moves with the clock. What lies in the future now was not
        later than the step.
        """
        for uid, page in self._pages.items():
            if page.noticed_at is not None:
                # In doubt later: the owner is told for long enough on either time line.
                late = min(page.noticed_at, step.began) if step.back else None
                page.noticed_at = late or plus(page.noticed_at, step.by)
            page.retry_sleep_at = _moved(page.retry_sleep_at, step.by)
            page.no_flight_before = _moved(page.no_flight_before, step.by)
            page.reversals = replace(page.reversals, at=_moved(page.reversals.at, step.by))
            if not step.back:
                continue
            if page.asked_at is not None:
                page.asked_at = min(page.asked_at, step.began)
            if page.turned_back_at is not None:
                page.turned_back_at = min(page.turned_back_at, step.began)
            if page.slept is not None:
                page.ceiling = min(page.ceiling or step.began, step.began)
            state = _not_after(page.state, step.began)
            if state != page.state:
                page.state = state
                self._unsaved.add(uid)

    def woken(self, uid: str, at: datetime) -> None:
        """Note that the Space was woken."""
        page = self._pages.get(uid)
        if page is not None:
            _woken(page, at)
            self._unsaved.add(uid)

    def forget(self, uid: str) -> None:
        """Drop all that is known of a namespace that is gone, or is no Space any more."""
        page, stored = self._pages.pop(uid, None), self._stored.pop(uid, None)
        if page is not None or stored is not None:
            self._unsaved.add(uid)

    def uids(self) -> tuple[str, ...]:
        """Every namespace of which something is known, by uid."""
        return (*self._pages, *self._stored)

    def pages(self) -> Mapping[str, SpacePage]:
        """All pages, by namespace uid."""
        return self._pages

    def take_unsaved(self) -> Mapping[str, SpaceState | None]:
        """States that changed since the last call; None: there must be no row."""
        taken = {uid: self._row(uid) for uid in self._unsaved}
        self._unsaved.clear()
        return taken

    def _row(self, uid: str) -> SpaceState | None:
        page = self._pages.get(uid)
        return None if page is None or page.asleep else page.state

    def put_back(self, uids: Iterable[str]) -> None:
        """Saving failed: offer these again at the next :meth:`take_unsaved`."""
        self._unsaved.update(uids)


def _turn_to(
    page: SpacePage,
    *,
    rules: str | None,
    record: SleepRecord | None,
    used_at: datetime | None,
    now: datetime,
) -> bool:
    """Bring a page up to what is seen now; whether there was anything to write."""
    changed = False
    if rules is not None and page.state.rules != rules:
        page.state = replace(page.state, rules=rules, rules_since=now)
        changed = True
    asleep = record is not None and record.sleeping_since is not None
    if asleep is not page.asleep:
        page.asleep = asleep
        changed = True
        if not asleep:
            _woken(page, now)
    identity = None if record is None else _identity(record)
    if page.slept != identity:
        page.slept, page.ceiling = identity, None
        turned_back_at = page.turned_back_at
        page.visits_doubted = turned_back_at is not None and not (
            used_at and used_at > turned_back_at
        )
    if record is not None and min(_latest(record), page.ceiling or LATEST) > now:
        page.ceiling = now  # the clocks of two replicas differ, or ours was set back by a little
    return changed


def _identity(record: SleepRecord) -> tuple[int, datetime]:
    return record.epoch, record.decided_at


def _latest(record: SleepRecord) -> datetime:
    return max(record.horizon, record.decided_at, record.sleeping_since or record.decided_at)


def _not_after(state: SpaceState, at: datetime) -> SpaceState:
    woken_at = state.woken_at
    if state.rules_since <= at and (woken_at is None or woken_at <= at):
        return state
    return replace(
        state,
        rules_since=min(state.rules_since, at),
        woken_at=None if woken_at is None else min(woken_at, at),
    )


def _moved(at: datetime | None, by: timedelta) -> datetime | None:
    return None if at is None else plus(at, by)


def _woken(page: SpacePage, at: datetime) -> None:
    page.state = replace(page.state, woken_at=at)
    page.noticed_at = None
