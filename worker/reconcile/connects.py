"""What a user connected by our link is theirs, so it takes the place of what was removed. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from worker.diagnosis.causes import INDIRECT
from worker.diagnosis.model import Profiles
from worker.ledger.records import Account, Choice, TrackedEvent, from_ms, to_ms
from worker.reconcile.relinks import arrived, service_of

#: Who chose it, in outcomes and evidence.
THE_USER = "the user"
#: What comes later than this after the link was followed was connected some other way.
FOLLOWED_FOR = timedelta(days=1)


def chosen_by_user(
    account: Account, events: Iterable[TrackedEvent], profiles: Profiles, now: datetime
) -> tuple[Choice, ...]:
    """The account's choices, and those that the user made by connecting a profile through our link.

    One for each removed profile of that service that one of the `events` asks for, unless a person chose.
    Otherwise the profile's name would have to show whose it is.
    """
    choices = {(choice.profile_id, choice.event): choice for choice in account.choices}
    for key, profile_id in arrived(account.connects, profiles).items():
        followed_at = account.connects[key].followed_at
        if followed_at is None or now - from_ms(followed_at) > FOLLOWED_FOR:
            continue
        for event in events:
            removed = event.profile_id
            if removed is None or removed in INDIRECT or profiles.conferencing_profile(removed):
                continue
            provider_name = event.provider_name or account.memo.providers.get(removed)
            if provider_name == service_of(key) and account.choice_about(event) is None:
                choices.setdefault((removed, None), Choice(removed, profile_id, to_ms(now), THE_USER))
    return tuple(choices.values())
