"""The command about incidents, and the choice for all accounts of one."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console
from rich.progress import track as progress
from rich.text import Text

from config.terminal import shown
from worker.bootstrap import Services, keyless_ledger
from worker.commands.output import json_text, say
from worker.commands.setup import settings_of_command
from worker.ledger.connection import A_PERSONS_PATIENCE, connect_once
from worker.ledger.incidents import Incident
from worker.ledger.ledger import Ledger
from worker.mail.advice import headline
from worker.mail.compose import RemovedProfile
from worker.run.choices import BUSY, NOT_ASKED, Wanted, choose_profile
from worker.run.incidents import (
    SAME_PROVIDER,
    Accounts,
    Figures,
    figures,
    members,
    removed_profiles,
    same_provider,
)
from worker.text.amounts import amount, second
from worker.text.wording import provider

#: How many of an incident's events one run of `choose` settles; it can be repeated.
MOST_EVENTS = 100_000
#: How often a choice is tried again while Cronofy cannot be asked (the budget is spent), and how far apart.
TRIES, APART_SECONDS = 60, 2.0
#: How many lines of each kind are shown.
SHOWN = 20


@click.command(short_help="List what has one reason and needs a person.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def incidents(as_json: bool) -> None:
    """List the open incidents, the oldest first. Changes nothing."""
    settings = settings_of_command()
    with connect_once(settings.ledger_url, A_PERSONS_PATIENCE) as redis:
        ledger = keyless_ledger(redis, settings)
        found = [(each, figures(ledger, each)) for each in ledger.incidents.open()]
    if as_json:
        click.echo(json_text({"incidents": [_as_json(*each) for each in found]}, indent=2))
        return
    console = Console()
    for incident, size in found:
        told = f"told {second(incident.told_at)} UTC" if incident.told_at else "not told yet"
        soonest = f", the soonest {second(size.soonest)} UTC" if size.soonest else ""
        what = headline(incident.kind, incident.provider)
        console.print(Text(shown(f"{incident.incident_id}  {what}")), soft_wrap=True)
        counts = f"{amount(size.events, 'event')} of {amount(size.accounts, 'account')}{soonest}"
        since = f"since {second(incident.opened_at)} UTC, {told}"
        console.print(Text(f"  {counts}; {since}", style="dim"), soft_wrap=True)
    if not found:
        say("None.")


def _as_json(incident: Incident, size: Figures) -> dict[str, Any]:
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


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a choice for an incident will do."""

    chosen: tuple[tuple[RemovedProfile, str], ...]
    left: tuple[RemovedProfile, ...]


def choose_for_incident(services: Services, incident_id: str, to: str, by: str, *, yes: bool) -> None:
    """Choose for every removed profile of an incident; shows first what will happen, and asks."""
    ledger = services.ledger
    incident = ledger.incidents.find(incident_id)
    if incident is None or incident.closed_at is not None:
        say(f"There is no open incident {incident_id}.", err=True)
        sys.exit(1)
    plan = _planned(ledger, incident, to)
    _show(plan, to)
    if not plan.chosen:
        say("Nothing can be chosen for all of them. Choose for one account with: reconciler choose", err=True)
        sys.exit(1)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("There is no terminal to ask on: add --yes to choose.")
        click.confirm("Choose this?", abort=True)
    failed = []
    console = Console(stderr=True)
    for removed, each in progress(
        plan.chosen, "Choosing", console=console, transient=True, disable=not console.is_terminal
    ):
        reason = _choose(services, Wanted(removed.sub, removed.profile_id, each, None, by))
        if reason is not None:
            failed.append((removed, reason))
    done = len(plan.chosen) - len(failed)
    say(f"Chosen for {amount(done, 'profile')} of {len(plan.chosen):,}; {len(plan.left):,} left as they are.")
    for removed, reason in failed[:SHOWN]:
        say(f"  {removed.sub} {removed.profile_id}: {reason}", err=True)
    if failed:
        say(f"{len(failed):,} failed. Run it again: what is settled is skipped.", err=True)
        sys.exit(1)


def _planned(ledger: Ledger, incident: Incident, to: str) -> _Plan:
    listed, accounts = members(ledger, incident, MOST_EVENTS), Accounts(ledger)
    chosen, left = [], []
    for each in removed_profiles(listed, accounts):
        removed = each.removed
        candidate = same_provider(removed)
        if to != SAME_PROVIDER:
            chosen.append((removed, to))
        elif candidate is not None:
            chosen.append((removed, candidate.to_profile_id))
        else:
            left.append(removed)
    return _Plan(tuple(chosen), tuple(left))


def _show(plan: _Plan, to: str) -> None:
    events = sum(removed.events for removed, _ in plan.chosen)
    say(f"Will set {to} for {amount(events, 'event')} of {amount(len(plan.chosen), 'removed profile')}:")
    for removed, each in plan.chosen[:SHOWN]:
        say(f"  {shlex.join((removed.sub, removed.profile_id))} -> {each}{_named(removed, each)}")
    _more(plan.chosen)
    if plan.left:
        say("Left as they are, as there is not exactly one other profile of the same service:")
        for removed in plan.left[:SHOWN]:
            say(f"  {shlex.join((removed.sub, removed.profile_id))}")
        _more(plan.left)


def _named(removed: RemovedProfile, to: str) -> str:
    found = next((each for each in removed.candidates if each.to_profile_id == to), None)
    if found is None or found.provider_name is None:
        return ""
    return f" ({provider(found.provider_name)}{f', {found.profile_name}' if found.profile_name else ''})"


def _more(lines: Sequence[Any]) -> None:
    if len(lines) > SHOWN:
        say(f"  and {len(lines) - SHOWN:,} more")


def _choose(services: Services, wanted: Wanted) -> str | None:
    """Choose, however long the budget takes; returns why not, or None."""
    for _ in range(TRIES):
        result = choose_profile(services, wanted)
        reason = str(result["reason"] or "")
        if result["chosen"] or not reason.startswith((BUSY, NOT_ASKED)):
            return None if result["chosen"] else reason
        time.sleep(APART_SECONDS)
    return reason
