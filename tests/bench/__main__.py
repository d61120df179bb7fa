"""``make bench``: every figure of ``docs/figures.md``, measured anew.

Prints the table that stands there, or with ``-o json`` the same for programs. A figure that is
short of its goal is said, and does not fail the run: these are measurements, not tests.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Final

import click

from tests.bench import decide, sink, sleep_wake, steady, wake_latency
from tests.bench.figure import Figure, table

BENCHES: Final[Mapping[str, Callable[[], Awaitable[Sequence[Figure]]]]] = {
    "decide": decide.figures,
    "sink": sink.figures,
    "sleep-wake": sleep_wake.figures,
    "wake-latency": wake_latency.figures,
    "steady": steady.figures,
}
"""Name and bench, in the order in which they run: each has the machine for itself."""


@click.command(help="Measure the figures of docs/figures.md; all of them, or those NAMEd.")
@click.argument("names", metavar="[NAME]...", nargs=-1, type=click.Choice(tuple(BENCHES)))
@click.option("-o", "output", type=click.Choice(["table", "json"]), default="table")
def main(names: tuple[str, ...], output: str) -> None:
    figures: list[Figure] = []
    for name in names or BENCHES:
        click.echo(f"bench: {name} …", err=True)
        figures.extend(asyncio.run(_run(name)))
    if output == "json":
        shown = [{**asdict(figure), "met": figure.met} for figure in figures]
        click.echo(json.dumps(shown, indent=1, ensure_ascii=False))
    else:
        click.echo(table(figures))


async def _run(name: str) -> Sequence[Figure]:
    return await BENCHES[name]()


if __name__ == "__main__":
    main(prog_name="python -m tests.bench")
