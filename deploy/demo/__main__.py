"""``make demo``: exits with 0 if the story went as told, else with 1 and what went wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from devcluster.client import Cluster

from demo.daemon import Daemon, configuration
from demo.narrator import Narrator
from demo.spaces import SPACES
from demo.stage import Stage
from demo.story import NOTICE_SECONDS, SLEEP_AFTER_SECONDS, Cast, tell
from demo.watcher import StoryError, Watcher

LOOK_AROUND = """
It is all still running, but nobody comes any more: the rest falls asleep within a minute.
In this shell you might type:
  sleeper spaces                      who is awake, who sleeps, and why
  sleeper explain borealis-api        what it saw and by which rule it decided
  sleeper wake atlas-preview --wait   bring one back
  sleeper usage --since 10m           what each used and what sleeping freed
  kubectl get pods --all-namespaces
Leaving the shell takes everything down.
"""

NEEDS_A_TERMINAL = (
    "KEEP=1 opens a shell in which to look around, and leaving it takes everything down: it needs "
    "a terminal, and standard input is none. Without KEEP the demo needs none."
)


def main() -> int:
    """Set the stage, tell the story, clean up."""
    if os.environ.get("KEEP") and not sys.stdin.isatty():
        print(NEEDS_A_TERMINAL, file=sys.stderr)
        return 1
    cluster = Cluster.from_environment(os.environ)
    if cluster is None or not cluster.pod_network:
        print(
            "The demo needs the development cluster with its Pod network: start it with "
            "`make demo` on a machine that allows network namespaces.",
            file=sys.stderr,
        )
        return 1
    watcher = Watcher(str(cluster.kubeconfig("admin")), tuple(space.name for space in SPACES))
    narrator = Narrator(watcher)
    daemon = Daemon(
        cluster,
        configuration(cluster, sleep_after=f"{SLEEP_AFTER_SECONDS}s", notice=f"{NOTICE_SECONDS}s"),
    )
    stage = Stage(cluster, watcher)
    try:
        narrator.waiting("The watcher takes its first look at the cluster.")
        watcher.start()
        narrator.start()
        tell(Cast(stage=stage, daemon=daemon, watcher=watcher, narrator=narrator))
        narrator.fact("That was the story; every scene was judged by the API server alone.")
        if os.environ.get("KEEP"):
            narrator.stop()
            watcher.stop()
            _look_around(cluster)
        else:
            narrator.fact("To look around yourself: make demo KEEP=1")
        return 0
    except StoryError as error:
        narrator.failure(str(error))
        narrator.failure(f"the daemon's last words:\n{_tail(daemon)}")
        return 1
    except subprocess.CalledProcessError as error:
        narrator.failure(f"{error}\n{error.stderr}")
        return 1
    except KeyboardInterrupt:
        narrator.failure("interrupted; everything is taken down")
        return 128 + signal.SIGINT
    finally:
        daemon.stop()
        narrator.stop()
        watcher.stop()


def _look_around(cluster: Cluster) -> None:
    print(LOOK_AROUND)
    environment = {
        **os.environ,
        "SLEEPER_SERVER": f"http://127.0.0.1:{cluster.daemon_port}",
    }
    subprocess.run([os.environ.get("SHELL", "/bin/sh")], check=False, env=environment)


def _tail(daemon: Daemon) -> str:
    try:
        return "\n".join(daemon.log.read_text().splitlines()[-30:])
    except OSError:
        return "(none)"


if __name__ == "__main__":
    sys.exit(main())
