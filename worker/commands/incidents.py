"""The command about incidents, and the choice for all accounts of one."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import click

from worker.bootstrap import Services
from worker.commands.ledger import ledger_of_command
from worker.commands.output import json_text, say, say_some, say_styled
from worker.commands.setup import confirm
from worker.ledger.incidents import Incident
from worker.mail.advice import headline
from worker.mail.compose import Candidate, RemovedProfile
from worker.run.deciding import NOT_OPEN, Plan, carry_out, plan_for
from worker.run.incidents import IncidentSize, size_of
from worker.wording import amount, provider, utc

#: How many lines of each kind are shown.
SHOWN = 20


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def incidents(as_json: bool) -> None:
    """List the open incidents, the oldest first. Changes nothing."""
    with ledger_of_command() as ledger:
        found = [(each, size_of(ledger, each)) for each in ledger.incidents.open()]
    if as_json:
        click.echo(json_text({"incidents": [_as_json(*each) for each in found]}, indent=2))
        return
    for incident, size in found:
        told = f"told {utc(incident.told_at)}" if incident.told_at else "not told yet"
        soonest = f", the soonest {utc(size.soonest)}" if size.soonest else ""
        say(f"{incident.incident_id}  {headline(incident.kind, incident.provider)}")
        counts = f"{amount(size.events, 'event')} of {amount(size.accounts, 'account')}{soonest}"
        if incident.is_of_fleet:
            counts = "the whole fleet"
        say_styled([(f"  {counts}; since {utc(incident.opened_at)}, {told}", "dim")])
    if not found:
        say("None.")


def _as_json(incident: Incident, size: IncidentSize) -> dict[str, Any]:
    return {
        "id": incident.incident_id,
        "cause": incident.cause.value if incident.cause else None,
        "kind": incident.kind,
        "provider_name": incident.provider,
        "accounts": size.accounts,
        "events": size.events,
        "soonest": size.soonest.isoformat() if size.soonest else None,
        "since": incident.opened_at.isoformat(),
        "told": incident.told_at.isoformat() if incident.told_at else None,
    }


def choose_for_incident(services: Services, incident_id: str, to: str, by: str, *, yes: bool) -> None:
    """Choose for every removed profile of an incident; shows first what will happen, and asks."""
    ledger = services.ledger
    incident = ledger.incidents.find(incident_id)
    if incident is None or incident.closed_at is not None:
        say(NOT_OPEN.format(incident_id), err=True)
        sys.exit(1)
    plan = plan_for(ledger, incident, to, {})
    _show(plan, to)
    if not plan.chosen:
        say("This is possible for none of them. Choose for one account with: reconciler choose", err=True)
        sys.exit(1)
    confirm("Choose this?", "choose", yes=yes)
    carried = carry_out(services, incident, plan, by)
    profiles = amount(carried.done, "removed profile")
    say(f"Chosen for {profiles}; {len(plan.left):,} left as they are. Their meetings are looked at next.")
    for removed, reason in carried.failed[:SHOWN]:
        say(f"  {removed.sub} {removed.profile_id}: {reason}", err=True)
    if carried.failed:
        say(f"{len(carried.failed):,} failed. Run it again: what is settled is skipped.", err=True)
        sys.exit(1)


def _show(plan: Plan, to: str) -> None:
    events = sum(removed.events for removed, _ in plan.chosen)
    say(f"Will set {to} for {amount(events, 'event')} of {amount(len(plan.chosen), 'removed profile')}:")
    chosen = [f"{_ids(removed)} -> {each.to_profile_id}{_named(each)}" for removed, each in plan.chosen]
    say_some(chosen, SHOWN)
    if plan.left:
        say("Left as they are, as this is not possible for them, or not the only one of its service:")
        say_some([_ids(removed) for removed in plan.left], SHOWN)


def _ids(removed: RemovedProfile) -> str:
    return shlex.join((removed.sub, removed.profile_id))


def _named(candidate: Candidate) -> str:
    if candidate.provider_name is None:
        return ""
    name = f", {candidate.profile_name}" if candidate.profile_name else ""
    return f" ({provider(candidate.provider_name)}{name})"
