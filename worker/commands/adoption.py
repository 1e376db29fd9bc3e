"""The command that takes up what nobody tracked: adopt."""

from __future__ import annotations

import sys
from contextlib import closing

import click

from config.logging import configure_logging
from config.terminal import shown
from worker.bootstrap import Services, bootstrap
from worker.commands.console import progress
from worker.commands.output import json_text, say
from worker.commands.setup import settings_of_command
from worker.ledger.records import TrackedEvent
from worker.run.adoption import Adoption, Stopped, accounts_to_read
from worker.run.adoption import adopt as adopt_all
from worker.wording import amount, utc

#: As the contract names them.
COUNTS = ("accounts", "adopted", "tracked", "unreadable", "skipped", "left")


@click.command()
@click.argument("subs", nargs=-1, metavar="[SUB]...")
@click.option("--dry-run", is_flag=True, help="Print what would be taken up, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def adopt(subs: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Read the events to come of the accounts SUB, or of all, and track those that wait for conferencing.

    They are diagnosed and told, but never written, since a read does not show all that a write needs. Safe
    beside a running fleet, and may be ended at any time: the next run goes on, if no SUB is named.
    """
    settings = settings_of_command()
    # The command itself says what it did.
    configure_logging(settings.model_copy(update={"log_level": "error"}))
    with closing(bootstrap(settings)) as services:
        if services.ledger.paused_since() is not None:
            say("The fleet is paused: end that with reconciler resume.", err=True)
            sys.exit(1)
        done, stopped = _run(services, subs, dry_run=dry_run)
    counts = {name: done.counts[name] for name in COUNTS}
    if as_json:
        events = {"events": [_as_json(*each) for each in done.events]} if dry_run else {}
        click.echo(json_text(counts | events, indent=2))
    else:
        for sub, event in done.events:
            start = utc(event.starts_at) if event.starts_at else "unknown start"
            say(f"{sub} {event.key.calendar_id} {event.key.event_id}  {start}  {event.summary}")
        _tell(counts, dry_run=dry_run)
    if stopped or counts["left"] or (subs and counts["skipped"]):
        sys.exit(1)


def _run(services: Services, subs: tuple[str, ...], *, dry_run: bool) -> tuple[Adoption, bool]:
    """What was done, and whether it stopped before the end."""
    done = Adoption()
    todo, after = accounts_to_read(services, subs)
    if after is not None:
        say(f"Going on after the account {after}, where an earlier run came to.", err=True)
    with progress("Reading, {task.fields[adopted]:,} adopted") as bar:

        def tell(what: str, reason: str) -> None:
            bar.console.print(shown(f"{what}: {reason}"), markup=False, highlight=False, soft_wrap=True)

        task = bar.add_task("", total=len(todo), adopted=0)
        try:
            for done in adopt_all(services, todo, dry_run=dry_run, resumable=not subs, tell=tell):
                bar.update(task, advance=1, adopted=done.counts["adopted"])
        except Stopped as why:
            tell("Stopped", str(why))
            return done, True
    return done, False


def _tell(counts: dict[str, int], *, dry_run: bool) -> None:
    would = "would be adopted" if dry_run else "adopted"
    say(
        f"{amount(counts['accounts'], 'account')} read: {amount(counts['adopted'], 'event')} {would}, "
        f"{counts['tracked']:,} known already, {counts['unreadable']:,} unreadable; "
        f"{amount(counts['skipped'], 'account')} skipped, {counts['left']:,} left."
    )


def _as_json(sub: str, event: TrackedEvent) -> dict[str, str]:
    return {
        "sub": sub,
        "calendar_id": event.key.calendar_id,
        "event_id": event.key.event_id,
        "start": event.starts_at.isoformat() if event.starts_at else "?",
        "summary": event.summary,
    }
