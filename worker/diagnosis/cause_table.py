"""Everything we say about each cause: one row per cause.

The board, histories, `explain`, the numbers in counters, and the tables in docs/causes.md all come
from these rows. After a change, regenerate the documents with ``python -m tests.contract.decisions``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from worker.diagnosis.model import Cause

#: The label of an event that no look has reached yet.
UNSEEN: Final = "not looked at yet"


@dataclass(frozen=True, slots=True)
class Row:
    """One cause in words. `wrong`, `done` and `person` are cells of the documents' tables."""

    #: Stored in event headers and counter names, so it never changes; 0 means not looked at yet.
    number: int
    #: On the board and in an event's history.
    label: str
    #: What is wrong.
    wrong: str
    #: What the program does about it.
    done: str
    #: What a support person can do, in `explain`.
    support: str
    #: What an operator can do, in `explain`.
    operator: str = "Nothing. The outcome is in the stream."
    #: What a person has to do.
    person: str = "nothing"
    #: What may be behind it, which Cronofy does not say: for the operator, also in the escalation email.
    perhaps: str = ""
    #: For a customer: why there is no link, and what comes next. `{link}` is the service's link, `{start}`
    #: when the meeting starts. None if the words vary: `worker/explain/reply.py` builds them.
    reply: tuple[str, str] | None = None


TABLE: Mapping[Cause, Row] = {
    Cause.GENERATING: Row(
        number=1,
        label="still being created",
        wrong="nothing: Cronofy is still creating it",
        done="looks again at growing intervals, each at most a quarter of the time left",
        support="Wait. Send the answer above if the customer asks.",
        operator="Nothing. To have it looked at now, run conferencing.reconcile_event.",
    ),
    Cause.CREDENTIALS_EXPIRED: Row(
        number=2,
        label="profile disconnected",
        wrong="the conferencing profile, or the profile of the event's calendar, is disconnected",
        done=(
            "sends the user one relink email for all affected meetings, then reminders; escalates once if it "
            "has no link to send; keeps looking"
        ),
        support=(
            "Ask the customer to follow the link in the email, or for a working address. If the calendar is "
            "not in the account any more, send them through your application's connect page again."
        ),
        operator=(
            "If no email arrives, check RECONCILER_SMTP_URL with `reconciler doctor`, or give "
            "conferencing.connect_account another `email`."
        ),
        person="the user reconnects the profile through the link, or the calendar in the application",
        perhaps=(
            "the user or an administrator withdrew the access; what an administrator set up for everyone "
            "(Enterprise Connect, Teams, Meet), the user may be unable to reconnect"
        ),
    ),
    Cause.PROFILE_REMOVED: Row(
        number=3,
        label="profile removed",
        wrong="the requested profile no longer exists",
        done="sets the one profile that fits; otherwise asks the user to connect one, or escalates",
        support="Ask which conferencing the meeting should use, and set it in your application.",
        operator=(
            "Choose another profile with `reconciler choose`, for all events or for one. "
            "RECONCILER_REPLACEMENT says which are set automatically; with RECONCILER_WEBHOOK_URL, users are "
            "asked to connect one."
        ),
        person="chooses another profile (`reconciler choose`)",
        perhaps="the user removed it by hand, or an administrator removed what they had set up for everyone",
    ),
    Cause.EVENT_IN_PAST: Row(
        number=4,
        label="started without a link",
        wrong="the event has started; Cronofy creates nothing for past events",
        done="closes it",
        support="Offer to move the meeting.",
        reply=(
            "This meeting started on {start} before its {link} was created, and links are only created for "
            "future meetings.",
            "If it is still going to happen, please move it to a future time.",
        ),
    ),
    Cause.MISSING_MEETING_URL: Row(
        number=5,
        label="calendar's service gave no link",
        wrong="the calendar's own service returned no link: a licence or setting is missing",
        done="escalates once; keeps looking",
        support="Ask the customer's administrator to check the licence and the settings.",
        operator="Nothing here: the licence or setting is at the provider.",
        person="gives the user a licence, or changes the calendar's setting",
        perhaps="a licence was withdrawn, a setting was changed, or the account at the service is a free one",
    ),
    Cause.PROVIDER_OUTAGE: Row(
        number=6,
        label="service is failing",
        wrong="the conferencing service is failing; Cronofy keeps trying",
        done="waits; escalates once if it lasts too long or the event is about to start",
        support="Point the customer to the service's status page. Nothing else helps.",
        operator="Nothing: Cronofy keeps trying. If the service works again, ask Cronofy's support.",
        person="nothing; once it is escalated, offers another way to meet",
    ),
    Cause.ACCOUNT_UNAUTHORIZED: Row(
        number=7,
        label="no access to the account",
        wrong="Cronofy refuses the account, or the application owes its next access token",
        done=(
            "makes no more calls for the account until it is connected again; mails its user "
            "RECONCILER_RECONNECT_URL, if set"
        ),
        support="Send the customer through your application's connect page again.",
        operator="Send conferencing.connect_account new tokens once the user has authorised again.",
        person="the user authorises again, or the application gives a token: `conferencing.connect_account`",
        reply=(
            "We have no access to this account's calendar, so we cannot check this meeting or its link.",
            "Please connect the account, and we will pick up its meetings automatically.",
        ),
    ),
    Cause.EVENT_GONE: Row(
        number=8,
        label="event is gone",
        wrong="the event was deleted or cancelled, or cannot be found",
        done="closes it; never creates it again",
        support="Ask whether the meeting was cancelled.",
        reply=(
            "This meeting was cancelled or is no longer in the calendar, so no link is created for it.",
            "If it is still going to happen, please restore it or create it again.",
        ),
    ),
    Cause.UNEXPLAINED: Row(
        number=9,
        label="overdue, no reason found",
        wrong="pending for too long, or too close to its start, with nothing visibly wrong",
        done="escalates once, with what Cronofy's support needs; keeps looking",
        support="Offer another way to meet, and ask the operator.",
        operator="Ask Cronofy's support, quoting the ids below and the escalation.",
        person="asks Cronofy's support, quoting the ids in the escalation",
        perhaps=(
            "the Zoom account is a free one, which no application can use, or the user removed the access by "
            "hand at the service and Cronofy has not noticed"
        ),
    ),
}


def label(cause: Cause | None) -> str:
    """A cause's label for people; None means not looked at yet."""
    return TABLE[cause].label if cause else UNSEEN
