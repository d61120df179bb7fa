"""``make siege``: every death at every write, and a random walk of owners and faults.

The walk goes over the real controllers: owners, kills, pauses, late writes, restores, two replicas.
What it finds is compared with a model of the owners' last will that shares nothing with sleeper. It
ends with the seed and what was counted, and with 1 if anything was lost, left behind or stuck for
longer than a minute. The same seed makes the same choices; what they meet depends on the cluster's
timing, as much as it does in life.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
from collections import Counter
from pathlib import Path

import click
import structlog
from devcluster.client import Cluster

from tests.siege import dying
from tests.siege.walk import Walk
from tests.support.api import Api

OUT = Path("build/siege")


@click.command(help="Walk, for an hour if not told otherwise.")
@click.option("--minutes", type=float, default=60, show_default=True, help="How long.")
@click.option("--seed", default="", help="Of the choices; by default a fresh one, which is shown.")
@click.option("--spaces", type=int, default=6, show_default=True, help="How many, side by side.")
@click.option("--episode", type=int, default=0, help="Number of the first episode.")
@click.option("--seconds", type=float, default=22, show_default=True, help="Of one episode.")
@click.option("--deaths/--no-deaths", default=True, help="Before it, every death at every write.")
def main(
    minutes: float, seed: str, spaces: int, episode: int, seconds: float, deaths: bool
) -> None:
    quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=quiet)  # the replicas' logs are in their files
    died, wrong = dying.run(click.echo) if deaths else (Counter[str](), [])
    if deaths:
        click.echo(f"siege: every death at every write, in memory\n{table(died)}")
    seed = seed or secrets.token_hex(4)
    cluster = Cluster.from_environment(os.environ)
    if cluster is None:
        raise SystemExit("no cluster: run this by `make siege`")
    out = OUT / seed
    shutil.rmtree(out, ignore_errors=True)  # of an earlier walk with that seed
    click.echo(f"siege: seed {seed}, {minutes:g} minutes, {spaces} Spaces; failures go to {out}")
    walk = asyncio.run(_walk(cluster, seed, spaces, seconds, minutes, episode, out))
    click.echo(f"\nsiege: seed {seed}")
    click.echo(table(walk.counts))
    for failure in walk.failures:
        click.echo(f"episode {failure.episode}, {failure.space}: {'; '.join(failure.complaints)}")
    click.echo(f"{len(walk.failures)} failures" if walk.failures else "nothing lost, left or stuck")
    raise SystemExit(1 if walk.failures or wrong else 0)


async def _walk(
    cluster: Cluster,
    seed: str,
    spaces: int,
    seconds: float,
    minutes: float,
    first: int,
    out: Path,
) -> Walk:
    async with Api(cluster) as api:
        walk = Walk(
            cluster=cluster,
            api=api,
            seed=seed,
            slots=spaces,
            seconds=seconds,
            out=out,
            say=click.echo,
        )
        await walk.run(minutes=minutes, first=first)
    return walk


def table(counts: Counter[str]) -> str:
    """What was counted, a line each."""
    return "\n".join(f"{count:7} {name}" for name, count in sorted(counts.items()))


if __name__ == "__main__":
    main(prog_name="python -m tests.siege")
