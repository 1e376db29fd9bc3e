"""Run benchmarks: ``python -m benchmarks [NAME…]``; all of them if none is named.

Each prints a table and writes ``benchmarks/results/NAME.json``. With ``--document`` the tables also go into
documents, between the marks that bear their names.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from benchmarks.report import Report, machine, put
from config.settings import clear_environment

#: In running order: module `benchmarks.NAME`, whose `run(quick)` returns a Report.
NAMES = (
    *("calls", "throughput", "cpu", "ledger", "overload", "outage", "budget", "notifications", "webhooks"),
    *("intake", "silent", "memory", "lists", "board", "soak", "commands"),
)


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--quick", is_flag=True, help="Small counts: to see that it runs; the figures say little.")
@click.option(
    "--document",
    "documents",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Put the tables there; may be repeated.",
)
def main(names: tuple[str, ...], quick: bool, documents: Sequence[Path]) -> None:
    """Measure, print the tables and write figures as JSON to benchmarks/results."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: no such benchmark; there are {', '.join(NAMES)}.")
    # Ends as on Ctrl-C, so that child processes are ended too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(width=None if sys.stdout.isatty() else 110)
    # Settings from the environment would distort the results.
    clear_environment()
    for name in names or NAMES:
        report: Report = importlib.import_module(f"benchmarks.{name}").run(quick)
        report.show(console)
        path = report.write()
        console.print(f"Written: {path}\n", highlight=False)
        found = ", ".join(f"{what}: {value}" for what, value in machine().items()) + ".\n"
        for document in documents:
            put(document, "machine", found)
        if documents and not any(put(document, name, report.markdown()) for document in documents):
            raise click.ClickException(f"{', '.join(map(str, documents))}: no marks for {name}.")


if __name__ == "__main__":
    main()
