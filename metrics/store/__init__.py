"""Tables of observation, and the functions that read and write them.

Every function works on a connection whose transaction the caller owns: activity and the watermark
that rests on it must be committed together. Instants are integer microseconds since the epoch.
Writes merge as the pure folds do, so writing the same thing twice changes nothing.
"""

from metrics.store.activities import (
    forget_activity,
    load_activity,
    merge_activity,
    set_back_activity,
)
from metrics.store.canaries import (
    canary_answered,
    canary_came_back,
    register_canary,
    take_lost_canaries,
    take_returned_canaries,
)
from metrics.store.retention import forget_before
from metrics.store.sessions import SinkSession, end_session, load_sessions, renew_session
from metrics.store.sights import (
    StoredGap,
    StoredSight,
    add_gaps,
    load_sights,
    recent_gaps,
    save_sight,
)
from metrics.store.streams import load_streams, merge_streams
from metrics.store.tables import Connection, metadata

__all__ = [
    "Connection",
    "SinkSession",
    "StoredGap",
    "StoredSight",
    "add_gaps",
    "canary_answered",
    "canary_came_back",
    "end_session",
    "forget_activity",
    "forget_before",
    "load_activity",
    "load_sessions",
    "load_sights",
    "load_streams",
    "merge_activity",
    "merge_streams",
    "metadata",
    "recent_gaps",
    "register_canary",
    "renew_session",
    "save_sight",
    "set_back_activity",
    "take_lost_canaries",
    "take_returned_canaries",
]
