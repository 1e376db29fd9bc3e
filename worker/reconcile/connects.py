"""What a user connected by our link is theirs, so it takes the place of what was removed. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from worker.diagnosis.causes import INDIRECT
from worker.diagnosis.model import Profiles
from worker.ledger.records import Account, Choice, TrackedEvent, to_ms
from worker.reconcile.episodes import service_of
from worker.reconcile.relinks import arrived

#: Who chose it, in outcomes and evidence.
THE_USER = "the user"


def chosen_by_user(
    account: Account, events: Iterable[TrackedEvent], profiles: Profiles, now: datetime
) -> tuple[Choice, ...]:
    """The account's choices, and those that the user made by connecting a profile through our link.

    One for each removed profile of that service that one of the `events` asks for, unless a person chose.
    Of any other profile, the name has to show whose it is.
    """
    choices = {(choice.profile_id, choice.event): choice for choice in account.choices}
    for key, new in arrived(account.connects, profiles).items():
        linked = account.connects[key].linked
        theirs = new if linked == "" and len(new) == 1 else tuple(each for each in new if each == linked)
        if not theirs:
            continue
        for event in events:
            removed = event.profile_id
            if removed is None or removed in INDIRECT or profiles.conferencing_profile(removed):
                continue
            provider_name = event.provider_name or account.memo.providers.get(removed)
            if provider_name == service_of(key) and account.choice_about(event) is None:
                choices.setdefault((removed, None), Choice(removed, theirs[0], to_ms(now), THE_USER))
    return tuple(choices.values())
