"""``make bench``: every figure of ``docs/figures.md``, measured anew.

Prints the table that stands there, or with ``-o json`` the same for programs. A figure that is
short of its goal is said, and does not fail the run: these are measurements, not tests.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

import click

from tests.bench import decide, sink, sleep_wake, steady, wake_latency
from tests.bench.figure import Bench, Figure, table

BENCHES: Final[Mapping[str, Bench]] = {
    "decide": decide.BENCH,
    "sink": sink.BENCH,
    "sleep-wake": sleep_wake.BENCH,
    "wake-latency": wake_latency.BENCH,
    "steady": steady.BENCH,
}
"""By name, in the order in which they run: each has the machine for itself."""


@click.command(help="Measure the figures of docs/figures.md; all of them, or those NAMEd.")
@click.argument("names", metavar="[NAME]...", nargs=-1, type=click.Choice(tuple(BENCHES)))
@click.option("-o", "output", type=click.Choice(["table", "json"]), default="table")
def main(names: tuple[str, ...], output: str) -> None:
    measured: list[tuple[Figure, float]] = []
    for name in names or BENCHES:
        click.echo(f"bench: {name} …", err=True)
        measured.extend(asyncio.run(_run(BENCHES[name])))
    if output == "json":
        shown = [
            {**asdict(figure), "value": value, "met": figure.met(value)}
            for figure, value in measured
        ]
        click.echo(json.dumps(shown, indent=1, ensure_ascii=False))
    else:
        click.echo(table(measured))


async def _run(bench: Bench) -> list[tuple[Figure, float]]:
    values = await bench.measure()
    return [(figure, values[figure]) for figure in bench.figures]


if __name__ == "__main__":
    main(prog_name="python -m tests.bench")
