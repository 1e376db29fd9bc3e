"""A person's choice of what takes the place of a removed profile (contract §1, ``choose_profile``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import structlog

from worker.bootstrap import Services
from worker.cronofy.errors import CronofyError
from worker.diagnosis.model import Profile, Profiles
from worker.diagnosis.replacement import possible_choices
from worker.ledger.leases import Change, EventChange, Lease
from worker.ledger.ledger import Ledger
from worker.ledger.records import Choice, Stored, TrackedEvent, to_ms
from worker.run.looks import acquire, look_now, recorded_answers

#: Who decided, if the caller does not say.
SOMEONE = "a person"
BUSY = "Another look at this account is in progress. Nothing was chosen; please send it again."

log = structlog.get_logger()


class ChoiceRefused(Exception):
    """The choice cannot stand; the argument says why, and what could be chosen follows."""

    def __init__(self, reason: str, possible: Sequence[str] = (), profiles: Profiles | None = None) -> None:
        """`profiles` name what is possible."""
        super().__init__(reason)
        self.reason = reason
        self.possible = [_named(each, profiles) for each in possible]


@dataclass(frozen=True, slots=True)
class Options:
    """What a person can choose for a removed profile now, and for which events."""

    events: tuple[TrackedEvent, ...]
    possible: tuple[dict[str, Any], ...]


def options(services: Services, sub: str, profile_id: str) -> Options:
    """What may be chosen in place of this profile; asks Cronofy. ChoiceRefused if there is no choice."""
    with _leased(services, sub) as lease:
        profiles = _profiles(services, lease, profile_id)
        services.ledger.release(lease)
    possible = tuple(_named(each, profiles) for each in possible_choices(profiles))
    return Options(tuple(s.event for s in _affected(lease, profile_id, None)), possible)


@dataclass(frozen=True, slots=True)
class WantedChoice:
    """What a person wants: another profile in place of a removed one, or their choice taken back."""

    sub: str
    profile_id: str
    #: None to take the choice back.
    to_profile_id: str | None
    #: (calendar_id, event_id) if it is for one event alone.
    event: tuple[str, str] | None = None
    by: str = SOMEONE


def choose_profile(services: Services, wanted: WantedChoice) -> dict[str, Any]:
    """Keep the choice, and look at the events that it is for; returns the task's result.

    If it is taken back they are due, and what was already set stays.
    """
    ledger, to, failure = services.ledger, wanted.to_profile_id, None
    try:
        with _leased(services, wanted.sub) as leased:
            if to is not None:
                profiles = _profiles(services, leased, wanted.profile_id)
                possible = possible_choices(profiles, wanted.event[0] if wanted.event else None)
                if to not in possible:
                    raise ChoiceRefused(_why_not(to, profiles), possible, profiles)
            elif not any(_is_about(choice, wanted) for choice in leased.account.choices):
                raise ChoiceRefused("There is no such choice to withdraw.")
            lease = _keep(ledger, leased, wanted)
    except ChoiceRefused as refused:
        log.info("choice.refused", sub=wanted.sub, profile_id=wanted.profile_id, reason=refused.reason)
        return {"chosen": False, "reason": refused.reason, "possible": refused.possible, "diagnoses": []}
    keys = [stored.event.key for stored in _affected(lease, wanted.profile_id, wanted.event)]
    if to is not None:
        failure = look_now(services, lease, keys)
    else:
        ledger.release(lease)
        for key in keys:
            ledger.nudge(lease.sub, key)
    diagnoses = recorded_answers(services, lease.sub, keys)
    return {"chosen": to is not None, "reason": failure, "possible": [], "diagnoses": diagnoses}


def keep_choice(services: Services, wanted: WantedChoice, patience: timedelta) -> None:
    """Keep a choice without asking Cronofy; the events that it is for are due, and looked at in their turn.

    Raises ChoiceRefused if the account cannot be looked at, or a look holds it for longer than `patience`.
    """
    with _leased(services, wanted.sub, patience) as lease:
        _keep(services.ledger, lease, wanted, done=True)


def _keep(ledger: Ledger, lease: Lease, wanted: WantedChoice, *, done: bool = False) -> Lease:
    """Write the choice, or that it is taken back, and note it in the events' history.

    The lease goes on; if this is `done` it ends, and the events are due.
    """
    to, now = wanted.to_profile_id, to_ms(lease.now)
    choice = Choice(wanted.profile_id, to, now, wanted.by, wanted.event) if to is not None else None
    others = tuple(c for c in lease.account.choices if not _is_about(c, wanted))
    choices = (*others, choice) if choice else others
    said = f"{choice.to_profile_id}, by {choice.by}" if choice else f"by {wanted.by}"
    changes = [
        # A choice that cannot be carried out is told again.
        EventChange(
            stored,
            replace(
                stored.event.noted(lease.now, "chosen" if choice else "choice_withdrawn", said),
                notified=(),
                next_look=now if done else stored.event.next_look,
            ),
        )
        for stored in _affected(lease, wanted.profile_id, wanted.event)
    ]
    changed = ledger.commit(lease, Change(changes, choices=choices), done=done).changed
    about = {"sub": lease.sub, "profile_id": wanted.profile_id}
    if choice:
        log.info("profile.chosen", **about, to_profile_id=choice.to_profile_id)
    else:
        log.info("choice.withdrawn", **about)
    new = {change.after.key: change.stored for change in changes if change.after.key not in changed}
    events = tuple(new.get(s.event.key, s) for s in lease.events if s.event.key not in changed)
    return replace(lease, events=events, account=replace(lease.account, choices=choices))


@contextmanager
def _leased(services: Services, sub: str, patience: timedelta | None = None) -> Iterator[Lease]:
    """The account's lease, which is given back if the block fails, whatever it raises."""
    account = services.ledger.account(sub)
    if account.credentials is None:
        raise ChoiceRefused("This account is not connected, so nothing can be chosen for it.")
    if account.lost:
        raise ChoiceRefused("Cronofy refuses this account. Once it is connected again, a choice can be made.")
    lease = acquire(services, sub, patience)
    if lease is None:
        raise ChoiceRefused(BUSY)
    try:
        yield lease
    except BaseException:
        with suppress(Exception):
            services.ledger.release(lease)
        raise


def _profiles(services: Services, lease: Lease, removed: str) -> Profiles:
    """The account's profiles, as Cronofy lists them now; ChoiceRefused if this one is still among them."""
    try:
        with services.looker.cronofy.session(lease.account, urgent=True) as session:
            profiles = session.userinfo().profiles
    except CronofyError as error:
        raise ChoiceRefused(f"Cronofy could not be asked: {error.reason} Nothing was chosen.") from None
    if profiles.conferencing_profile(removed):
        raise ChoiceRefused(f"The profile {removed} was not removed: Cronofy lists it.")
    return profiles


def _why_not(to: str, profiles: Profiles) -> str:
    if profiles.conferencing_profile(to):
        return f"The profile {to} is disconnected."
    if to == "integrated":
        return "The calendar has no conferencing of its own."
    return f"This account has no profile {to}."


def _affected(lease: Lease, profile_id: str, event: tuple[str, str] | None) -> list[Stored]:
    return [
        stored
        for stored in lease.events
        if stored.event.profile_id == profile_id
        and event in (None, (stored.event.key.calendar_id, stored.event.key.event_id))
    ]


def _is_about(choice: Choice, wanted: WantedChoice) -> bool:
    return (choice.profile_id, choice.event) == (wanted.profile_id, wanted.event)


def _named(to: str, profiles: Profiles | None) -> dict[str, Any]:
    """A possible wanted, as in the task's result."""
    profile: Profile | None = profiles.conferencing_profile(to) if profiles else None
    return {
        "to_profile_id": to,
        "provider_name": profile.provider_name if profile else None,
        "profile_name": profile.name if profile else None,
    }
