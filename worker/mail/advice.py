"""What an operator is told about each kind of incident: in a few words, and what to do."""

from __future__ import annotations

from collections.abc import Mapping

from worker import wording
from worker.diagnosis.cause_table import TABLE
from worker.diagnosis.model import Cause
from worker.ledger.records import (
    CLIENT_REFUSED,
    CRONOFY_FAILING,
    DAMAGED,
    LAPSED,
    NO_BUDGET,
    PARKED,
    TOKEN_OWED,
    UNREAD,
)

_HEADLINES: Mapping[str, str] = {
    PARKED: "looks were given up",
    UNREAD: "looks keep failing",
    TOKEN_OWED: "access token is missing",
    DAMAGED: "record cannot be read",
    LAPSED: "many profiles lapsed at once",
    CRONOFY_FAILING: "most calls to Cronofy fail",
    CLIENT_REFUSED: "Cronofy refuses our client",
    NO_BUDGET: "Cronofy's rate limit is used up",
}
#: Kinds of incidents whose events wait for something, without needing a person each.
WAITING = (Cause.PROVIDER_OUTAGE.value, LAPSED)
ADVICE: Mapping[str, str] = {
    Cause.PROFILE_REMOVED: (
        "Decide what takes the place of the removed profile. One decision settles all meetings of an "
        "account, also later ones."
    ),
    Cause.CREDENTIALS_EXPIRED: (
        "The user could not be asked to connect the profile again, or did not in time. Give "
        "conferencing.connect_account a working address, or have an administrator connect what they had set "
        "up for everyone."
    ),
    Cause.MISSING_MEETING_URL: (
        "The calendar's own service gave no link. Ask an administrator there to check the user's licence and "
        "the calendar's settings."
    ),
    Cause.PROVIDER_OUTAGE: (
        "The service has been failing for long. It is tried again all the time; offer another way to meet to "
        "those who meet soon."
    ),
    Cause.ACCOUNT_UNAUTHORIZED: (
        "Access to the account is refused, so nothing is checked any more. Send the user through your "
        "application's connect page again: conferencing.connect_account ends this."
    ),
    TOKEN_OWED: (
        "Your application has not given the account's next access token. Send it with "
        "conferencing.connect_account."
    ),
    Cause.UNEXPLAINED: (
        "Nothing is visibly wrong. Offer another way to meet to those who meet soon, and ask Cronofy's "
        "support (support@cronofy.com); the text below is ready to paste."
    ),
    CRONOFY_FAILING: (
        "Few calls are made to see whether it answers again; then what is due is looked at in order. Look at "
        "Cronofy's status page, and at the way there: reconciler doctor."
    ),
    CLIENT_REFUSED: (
        "Check RECONCILER_CRONOFY_CLIENT_ID and RECONCILER_CRONOFY_CLIENT_SECRET, and restart the workers."
    ),
    NO_BUDGET: (
        "Something else makes as many calls as the application may: lower its part, or ask Cronofy for a "
        "higher limit. Until then looks come late."
    ),
    LAPSED: (
        "Perhaps an administrator revoked the application's access at the service: ask there. Each user is "
        "asked to connect the profile again as ever. Only a few of these events are looked at, until one of "
        "the profiles is connected again."
    ),
    PARKED: (
        "These events make their own looks fail, so they are not looked at any more. `reconciler "
        "dead-letters` has the reasons, and replays them once they are fixed."
    ),
    UNREAD: "Looks at these events fail again and again. `reconciler doctor` shows what is wrong here.",
    DAMAGED: (
        "`reconciler dead-letters` keeps the record, with the reason; replaying it tracks the event again."
    ),
}


def headline(kind: str, provider_name: str | None) -> str:
    """What happened, in a few words."""
    words = _HEADLINES.get(kind) or (TABLE[Cause(kind)].label if kind in set(Cause) else kind)
    return f"{words} ({wording.provider(provider_name)})" if provider_name else words


def advice_on(kind: str) -> str:
    """What to do about it."""
    return ADVICE.get(kind) or (TABLE[Cause(kind)].operator if kind in set(Cause) else "")
