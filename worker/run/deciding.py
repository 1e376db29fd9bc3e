"""What a person decides about an incident as a whole: what takes the place of its removed profiles.

Nobody asks Cronofy here: what is possible is what the last look at each event found. The looks that follow,
the soonest meeting first and within the budget, set it by the rules of every write, and tell a person again
of what turns out to be impossible. Whatever is chosen leaves the incident, so all of this can be repeated.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from worker.bootstrap import Services
from worker.ledger.incidents import Incident
from worker.ledger.ledger import Ledger
from worker.mail.compose import Candidate, RemovedProfile
from worker.run.choices import ChoiceRefused, WantedChoice, keep_choice
from worker.run.incidents import members, removed_profiles
from worker.wording import amount

#: What is chosen by this word: the one other connected profile of the same service.
SAME_PROVIDER = "same-provider"
NOT_OPEN = "There is no open incident {}."
#: How many of an incident's events are read for a decision; it can be repeated.
MOST_EVENTS = 100_000
#: How long each account is waited for while a look holds it.
PATIENCE = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Plan:
    """What comes of what was picked."""

    chosen: tuple[tuple[RemovedProfile, Candidate], ...]
    #: For these nothing was picked, or nothing that is possible.
    left: tuple[RemovedProfile, ...]


@dataclass(frozen=True, slots=True)
class Carried:
    """What was carried out."""

    done: int
    #: Which failed, and why.
    failed: tuple[tuple[RemovedProfile, str], ...] = ()
    #: The time was over before all had their turn.
    unfinished: bool = False


def same_provider(removed: RemovedProfile) -> Candidate | None:
    """The one other profile of the same service that the last look saw; None if none or several."""
    fitting = [
        each
        for each in removed.candidates
        if each.provider_name is not None and each.provider_name == removed.provider_name
    ]
    return fitting[0] if len(fitting) == 1 else None


def plan_for(
    ledger: Ledger,
    incident: Incident,
    others: str | None,
    named: Mapping[tuple[str, str], str | None],
) -> Plan:
    """What these choices mean for each of an incident's removed profiles.

    `named` has them by account and removed profile: another profile, `integrated`, `default` or
    `SAME_PROVIDER`, or None to leave it. `others` is for all that it does not name.
    """
    chosen, left = [], []
    for removed in removed_profiles(members(ledger, incident, MOST_EVENTS), cache(ledger.account)):
        to = named.get((removed.sub, removed.profile_id), others)
        if to == SAME_PROVIDER:
            candidate = same_provider(removed)
        else:
            candidate = next((each for each in removed.candidates if each.to_profile_id == to), None)
        if candidate is None:
            left.append(removed)
        else:
            chosen.append((removed, candidate))
    return Plan(tuple(chosen), tuple(left))


def carry_out(
    services: Services, incident: Incident, plan: Plan, by: str, within: timedelta | None = None
) -> Carried:
    """Keep what was chosen, for all of it or as much as the time allows; its meetings are due from now on."""
    end = None if within is None else time.monotonic() + within.total_seconds()
    done, failed, unfinished = 0, [], False
    for removed, candidate in plan.chosen:
        if end is not None and time.monotonic() > end:
            unfinished = True
            break
        wanted = WantedChoice(removed.sub, removed.profile_id, candidate.to_profile_id, None, by)
        try:
            keep_choice(services, wanted, PATIENCE)
            done += 1
        except ChoiceRefused as refused:
            failed.append((removed, refused.reason))
    if done:
        tos = sorted({each.provider_name or each.to_profile_id for _, each in plan.chosen})
        which = f": {', '.join(tos)}" if len(tos) < 4 else ""
        what = f"chose for {amount(done, 'removed profile')}{which}"
        services.ledger.note_about(incident.incident_id, by, what)
    return Carried(done, tuple(failed), unfinished)
