"""Every CamelCase reason, declared once: verdict, Event reason, metric label, log key.

``docs/reference/reasons.md`` is generated from here and compared in a test.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a Space is in a state or a verdict was given; each value's meaning is in MEANING."""

    # held awake for good
    PROTECTED = "Protected"
    EXCLUDED = "Excluded"
    TERMINATING = "Terminating"
    NOT_A_SPACE = "NotASpace"
    # cannot tell
    POLICY_INVALID = "PolicyInvalid"
    ANNOTATION_IGNORED = "AnnotationIgnored"
    INVENTORY_UNSYNCED = "InventoryUnsynced"
    SIGNALS_STALE = "SignalsStale"
    # the owner's word
    DESIRED_AWAKE = "DesiredAwake"
    DESIRED_ASLEEP = "DesiredAsleep"
    KEEP_AWAKE = "KeepAwake"
    AWAKE_HOURS = "AwakeHours"
    AWAKE_HOURS_ENDED = "AwakeHoursEnded"
    AWAITING_HOURS_END = "AwaitingHoursEnd"
    NO_SLEEP_RULE = "NoSleepRule"
    # hazards and holds
    OPEN_STREAM = "OpenStream"
    UNSUPPORTED_WORKLOAD = "UnsupportedWorkload"
    RUNNING_JOB = "RunningJob"
    CRON_JOB = "CronJob"
    BARE_POD = "BarePod"
    DAEMON_SET = "DaemonSet"
    AUTOSCALER = "Autoscaler"
    OPERATOR_MANAGED = "OperatorManaged"
    DO_NOT_EVICT = "DoNotEvict"
    WORKLOAD_BUSY = "WorkloadBusy"
    ASLEEP_BY_ANOTHER = "AsleepByAnother"
    LOCAL_DATA = "LocalData"
    EMPTY_DIR = "EmptyDir"
    CLAIM_RETENTION = "ClaimRetention"
    RESTORED_WHILE_ASLEEP = "RestoredWhileAsleep"
    NO_TRAFFIC_PROVIDER = "NoTrafficProvider"
    CONFLICTING_WRITER = "ConflictingWriter"
    SLOW_TO_STOP = "SlowToStop"
    REPEATED_FAILURE = "RepeatedFailure"
    NOTHING_TO_SLEEP = "NothingToSleep"
    # the clock
    RECENT_ACTIVITY = "RecentActivity"
    IDLE_NOTICE = "IdleNotice"
    IDLE = "Idle"
    # wakes
    TOUCHED = "Touched"
    VISITED = "Visited"
    OWNER_SCALED_UP = "OwnerScaledUp"
    NEW_WORKLOAD = "NewWorkload"
    LATE_WRITE = "LateWrite"
    BREAK_GLASS = "BreakGlass"
    # flights that did not end well
    WRITE_DENIED = "WriteDenied"
    WRITE_FAILED = "WriteFailed"
    FALLING_ASLEEP_TIMED_OUT = "FallingAsleepTimedOut"
    WAKE_INCOMPLETE = "WakeIncomplete"
    BACKING_OFF = "BackingOff"
    # settled
    ASLEEP = "Asleep"
    NOT_LEADER = "NotLeader"
    OBSERVE_MODE = "ObserveMode"


MEANING: dict[Reason, str] = {
    Reason.PROTECTED: "A namespace that is never slept: kube-*, our own, what we depend on.",
    Reason.EXCLUDED: "Its owner excluded it.",
    Reason.TERMINATING: "The namespace is being deleted.",
    Reason.NOT_A_SPACE: "No tenant label that can be read; anything asleep is brought back.",
    Reason.POLICY_INVALID: "An annotation cannot be read; nothing sleeps sooner for it.",
    Reason.ANNOTATION_IGNORED: "What stands there has no effect; it is named, and holds nothing.",
    Reason.INVENTORY_UNSYNCED: "Not all objects of the cluster have been listed yet.",
    Reason.SIGNALS_STALE: "A required signal has not been seen far enough.",
    Reason.DESIRED_AWAKE: "The owner set `desired: awake`.",
    Reason.DESIRED_ASLEEP: "The owner set `desired: asleep`.",
    Reason.KEEP_AWAKE: "`keep-awake-until` is in the future.",
    Reason.AWAKE_HOURS: "Within its awake-hours.",
    Reason.AWAKE_HOURS_ENDED: "Its awake-hours have ended and no `sleep-after` applies.",
    Reason.AWAITING_HOURS_END: "Awake outside its awake-hours; it sleeps when they next end.",
    Reason.NO_SLEEP_RULE: "No rule would ever put it to sleep.",
    Reason.OPEN_STREAM: "An exec, attach, port-forward or followed log is open, or may be.",
    Reason.UNSUPPORTED_WORKLOAD: "A Pod whose owner we could not bring back.",
    Reason.RUNNING_JOB: "A Job is running.",
    Reason.CRON_JOB: "A CronJob would start Pods; this kind is not handled yet.",
    Reason.BARE_POD: "A Pod without an owner would be lost.",
    Reason.DAEMON_SET: "A DaemonSet runs Pods; this kind is not handled yet.",
    Reason.AUTOSCALER: "An autoscaler is present; this kind is not handled yet.",
    Reason.OPERATOR_MANAGED: "A workload belongs to another controller that would revert us.",
    Reason.DO_NOT_EVICT: "A Pod is marked as not to be evicted.",
    Reason.WORKLOAD_BUSY: "A workload is between two revisions or sizes, or holds roll-outs back.",
    Reason.ASLEEP_BY_ANOTHER: "Another tool holds a workload at zero; it is left alone.",
    Reason.LOCAL_DATA: "A database's data lies in its Pod alone and would be lost.",
    Reason.EMPTY_DIR: "Its Pods have emptyDir volumes; sleeping empties them, as a roll-out does.",
    Reason.CLAIM_RETENTION: "Scaling down would delete its claims; sleeping switches that off.",
    Reason.RESTORED_WHILE_ASLEEP: "A workload was made from a sleeping one; it waits for a wake.",
    Reason.NO_TRAFFIC_PROVIDER: "A route is carried by nothing whose traffic we can see.",
    Reason.CONFLICTING_WRITER: "Somebody undid each of its last sleeps at once; it is left alone.",
    Reason.SLOW_TO_STOP: "Pods may take longer to stop than a Space may take to fall asleep.",
    Reason.REPEATED_FAILURE: "Its last sleeps failed alike; it is left alone until it changes.",
    Reason.NOTHING_TO_SLEEP: "Nothing in it runs that could be slept.",
    Reason.RECENT_ACTIVITY: "Used more recently than `sleep-after`.",
    Reason.IDLE_NOTICE: "Idle; the owner has been told and the notice is running.",
    Reason.IDLE: "Idle for longer than `sleep-after`, seen by every required signal.",
    Reason.TOUCHED: "Somebody used it.",
    Reason.VISITED: "Somebody visited it through the ingress when it was about to sleep.",
    Reason.OWNER_SCALED_UP: "A sleeping workload was scaled up by somebody else.",
    Reason.NEW_WORKLOAD: "A new workload appeared in a sleeping Space.",
    Reason.LATE_WRITE: "A write of a sleep that is over came late, or was put back, and is undone.",
    Reason.BREAK_GLASS: "`sleeper wake --all`.",
    Reason.WRITE_DENIED: "A write was denied in the middle of a plan; everything is restored.",
    Reason.WRITE_FAILED: "The API server kept failing in the middle of a plan; it is restored.",
    Reason.FALLING_ASLEEP_TIMED_OUT: "Pods did not go away in time; everything is restored.",
    Reason.WAKE_INCOMPLETE: "Some objects could not be brought back yet; it is tried again.",
    Reason.BACKING_OFF: "A sleep failed recently; the next try waits.",
    Reason.ASLEEP: "Asleep, and nothing asks for it.",
    Reason.NOT_LEADER: "Another replica holds the Lease; only it puts Spaces to sleep.",
    Reason.OBSERVE_MODE: "`mode: observe`: decided, but nothing is put to sleep.",
}
