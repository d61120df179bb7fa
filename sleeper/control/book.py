"""What the verdict loop remembers about each Space between two decisions.

Two facts survive a restart (when the present rules began, when it was last woken: table
``space_state``); the rest is rebuilt, always on the side of staying awake: a notice that was
running begins anew, a back-off is forgotten only together with the failure that caused it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sleeper.core.policy import PolicyReading
from sleeper.core.verdict import Verdict
from sleeper.store.spaces import SpaceState


@dataclass(slots=True, kw_only=True)
class SpacePage:
    """One Space's page; mutable, owned by the loop.

    Attributes:
        state: what is persisted: fingerprint of the rules, their start, the last waking.
        noticed_at: since when the owner has been told that sleep is near.
        retry_sleep_at: no sleep is tried before this instant, and failures in a row.
        release_pending: a person woke it in spite of ``desired: asleep``, which still stands.
        verdict, policy: the last ones, for ``explain`` and for news worth telling.
    """

    state: SpaceState
    noticed_at: datetime | None = None
    retry_sleep_at: datetime | None = None
    failures: int = 0
    release_pending: bool = False
    verdict: Verdict | None = None
    policy: PolicyReading | None = None


class SpaceBook:
    """The pages of all Spaces, by namespace uid, and which of them must be saved."""

    def __init__(self, stored: Mapping[str, SpaceState]) -> None:
        self._stored = dict(stored)
        self._pages: dict[str, SpacePage] = {}
        self._unsaved: set[str] = set()

    def page(self, uid: str, *, rules: str, now: datetime) -> SpacePage:
        """The Space's page; where its rules are new or have changed, their clock starts now."""
        page = self._pages.get(uid)
        if page is None:
            stored = self._stored.pop(uid, None)
            page = SpacePage(state=stored or SpaceState(rules=rules, rules_since=now))
            self._pages[uid] = page
            if stored is None:
                self._unsaved.add(uid)
        if page.state.rules != rules:
            page.state = SpaceState(rules=rules, rules_since=now, woken_at=page.state.woken_at)
            self._unsaved.add(uid)
        return page

    def peek(self, uid: str) -> SpacePage | None:
        """The Space's page if there is one."""
        return self._pages.get(uid)

    def woken(self, uid: str, at: datetime) -> None:
        """Note that the Space was woken."""
        page = self._pages.get(uid)
        if page is not None:
            state = page.state
            page.state = SpaceState(rules=state.rules, rules_since=state.rules_since, woken_at=at)
            page.noticed_at = None
            self._unsaved.add(uid)

    def forget(self, uids: Iterable[str]) -> None:
        """Drop the pages of namespaces that are gone."""
        for uid in uids:
            self._pages.pop(uid, None)
            self._unsaved.discard(uid)

    def pages(self) -> Mapping[str, SpacePage]:
        """All pages, by namespace uid."""
        return self._pages

    def take_unsaved(self) -> Mapping[str, SpaceState]:
        """States that changed since the last call."""
        taken = {uid: self._pages[uid].state for uid in self._unsaved if uid in self._pages}
        self._unsaved.clear()
        return taken

    def put_back(self, uids: Iterable[str]) -> None:
        """Saving failed: offer these again at the next :meth:`take_unsaved`."""
        self._unsaved.update(uids)
