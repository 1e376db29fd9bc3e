"""The command with which a person decides what takes the place of a removed profile."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import click

from config.logging import configure_logging
from worker.bootstrap import bootstrap
from worker.commands.console import say_table
from worker.commands.incidents import choose_for_incident
from worker.commands.output import json_text, say, say_some
from worker.commands.setup import settings_of_command, user_of_machine
from worker.run.choices import ChoiceRefused, Options, WantedChoice, choose_profile, options
from worker.wording import amount, utc

#: How many of the events are shown.
SHOWN = 10


@click.command()
@click.argument("ids", metavar="[SUB PROFILE]", nargs=-1)
@click.option("--incident", metavar="ID", help="Instead: for all removed profiles of this incident.")
@click.option(
    "--to",
    "to",
    help="The profile to set instead, integrated or default; for an incident also same-provider.",
)
@click.option("--event", nargs=2, metavar="CALENDAR EVENT", help="Only for this event; without it, for all.")
@click.option("--by", help="Who decided, for the history; by default your login.")
@click.option("--withdraw", is_flag=True, help="Take an earlier choice back; what was already set stays.")
@click.option("--yes", is_flag=True, help="Do not ask; only for an incident.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def choose(
    ids: tuple[str, ...],
    incident: str | None,
    to: str | None,
    event: tuple[str, str] | None,
    by: str | None,
    withdraw: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Decide which profile takes the place of PROFILE, which was removed from the account SUB.

    All events that wait for it are set at once, and later ones follow. Without --to, shows what is possible.
    With --incident, one choice is for all accounts that it is about: --to same-provider sets the one other
    profile of the same service where there is exactly one.
    """
    if len(ids) != (0 if incident else 2):
        raise click.UsageError("Give SUB and PROFILE, or --incident and --to.")
    if incident and (not to or event or withdraw or as_json):
        raise click.UsageError("With --incident, give --to, and neither --event, --withdraw nor --json.")
    if withdraw and to:
        raise click.UsageError("Give --to or --withdraw, not both.")
    settings = settings_of_command()
    configure_logging(settings.model_copy(update={"log_level": "warning"}))
    with closing(bootstrap(settings)) as services:
        if incident:
            choose_for_incident(services, incident, to or "", by or user_of_machine(), yes=yes)
            return
        sub, profile = ids
        if not to and not withdraw:
            try:
                found = options(services, sub, profile)
            except ChoiceRefused as refused:
                say(refused.reason, err=True)
                sys.exit(1)
            _show_options(found, sub, profile, as_json=as_json)
            return
        result = choose_profile(services, WantedChoice(sub, profile, to, event, by or user_of_machine()))
    if as_json:
        click.echo(json_text(result, indent=2))
    else:
        _tell(result, withdraw=withdraw)
    if not (result["chosen"] or (withdraw and result["reason"] is None)):
        sys.exit(1)


def _tell(result: dict[str, Any], *, withdraw: bool) -> None:
    diagnoses = result["diagnoses"]
    events = amount(len(diagnoses), "event")
    if result["chosen"]:
        say(f"Chosen, and looked at {events} at once; later ones follow.")
        if result["reason"]:
            say(f"They are due, but could not be looked at now: {result['reason']}")
        say_some([f"{each['event_id']}: {' '.join(each['evidence'])}" for each in diagnoses], SHOWN)
    elif withdraw and result["reason"] is None:
        say(f"Withdrawn. {events} wait for a choice again.")
    else:
        say(result["reason"], err=True)
        if result["possible"]:
            _show_possible(result["possible"])


def _show_options(found: Options, sub: str, profile: str, *, as_json: bool) -> None:
    if as_json:
        events = [{"calendar_id": e.key.calendar_id, "event_id": e.key.event_id} for e in found.events]
        click.echo(json_text({"possible": found.possible, "events": events}, indent=2))
        return
    count = len(found.events)
    say(f"{count:,} event{' waits' if count == 1 else 's wait'} for {profile}, which was removed.")
    soonest = sorted(found.events, key=lambda each: str(each.starts_at))
    say_some([(f"{utc(e.starts_at)}  " if e.starts_at else "") + e.summary for e in soonest], SHOWN)
    say("Possible instead:")
    _show_possible(found.possible)
    say(f"Decide with: reconciler choose {sub} {profile} --to ...")


def _show_possible(possible: Sequence[dict[str, Any]]) -> None:
    names = ("to_profile_id", "provider_name", "profile_name")
    say_table(("--to", "provider", "name"), ([each[name] or "" for name in names] for each in possible))
