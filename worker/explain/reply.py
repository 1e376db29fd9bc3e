"""The answer to "why has this meeting no link yet?", in two sentences fit to forward to a customer.

Pure. The sentences name the service and the times if known, and avoid this program's jargon. For causes whose
words never vary, they are in `worker.diagnosis.cause_table`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from worker.diagnosis.cause_table import TABLE
from worker.diagnosis.model import Cause, Remedy, State
from worker.explain.case import Case, Delivery
from worker.ledger.records import Obstacle, from_ms
from worker.reconcile.episodes import is_postponed

Reply = tuple[str, str]

_LACKS_TOKEN = (
    "Our access to this account's calendar has to be renewed, so we cannot check this meeting now.",
    "Nothing needs to be done on your side, as the meeting is picked up automatically once it is.",
)
_NEVER_CONNECTED = (
    "We have not been given access to this account's calendar yet, so we cannot check this meeting.",
    "Nothing needs to be done on your side, as the meeting is picked up automatically once we have it.",
)
_OTHER_LINK = (
    "As it starts soon, we are giving it another link, so please look at the calendar entry before it starts."
)
_THEN = "the meeting link is then created automatically"


def reply(case: Case) -> Reply:
    """Why the meeting has no link (or that it has one), and what happens next or has to be done."""
    if case.state is State.ASSIGNED:
        ready = f"This meeting has its {_link(case)}."
        return ready, "You can find it in the calendar entry, and nothing more needs to be done."
    if case.event.parked and case.cause is not Cause.ACCOUNT_UNAUTHORIZED:
        return _parked(case)
    if case.cause is None:
        return _unseen(case)
    if case.cause is Cause.ACCOUNT_UNAUTHORIZED and case.never_connected:
        return _NEVER_CONNECTED
    if case.lacks_token:
        return _LACKS_TOKEN
    fixed = TABLE[case.cause].reply
    if fixed is None:
        why, following = BUILDERS[case.cause](case)
        other_link = case.answer["remedy"] == Remedy.FALLBACK and not case.settings.dry_run
        return why, _OTHER_LINK if other_link else following
    why, following = (sentence.format(link=_link(case), start=case.start) for sentence in fixed)
    return why, following


def _unseen(case: Case) -> Reply:
    if case.event.failures:
        why = "This meeting has not been checked yet, because its calendar could not be reached."
    elif case.event.attempts:
        why = "This meeting could not be checked yet, because of an error on our side."
    else:
        waits = _waiting(case, "Nothing needs to be done", "we will check it")
        return "This meeting is waiting for its first check.", waits
    return why, _waiting(case, "Nothing needs to be done, as we keep trying")


def _generating(case: Case) -> Reply:
    asked_at = from_ms(case.event.asked_at)
    if case.now - asked_at < case.settings.grace:
        usual = _length(case.settings.grace)
        why = f"The {_link(case)} for this meeting is still being created, which may take up to {usual}."
        return why, _waiting(case, "Nothing needs to be done, as the link appears automatically")
    why = (
        f"The {_link(case)} for this meeting has been in preparation since {case.at(asked_at)}, which is "
        "longer than usual, but we can see nothing wrong."
    )
    return why, _waiting(
        case, "Nothing needs to be done, as our team is alerted if the link does not arrive in time"
    )


def _expired(case: Case) -> Reply:
    perhaps = "has probably expired" if case.likely else "has expired"
    connection = f"{case.calendar} connection" if case.calendar else _connection(case)
    if case.answer["remedy"] == Remedy.ESCALATE:
        return (
            f"This account's {connection} seems to have been removed, so this meeting cannot be checked.",
            "Please connect the calendar to the account again; the meeting is then picked up automatically.",
        )
    why = f"This account's {connection} {perhaps}, so no link can be created for this meeting."
    service = f"the {case.calendar}" if case.calendar else case.service or "the conferencing service"
    if case.episode is None and not case.settings.dry_run and not case.live:
        why = f"{_first(service)} was disconnected from this account, but has been reconnected since."
        return why, _waiting(case, "Nothing needs to be done, as the link is created automatically")
    return why, _emailed(case, f"reconnect {service}")


def _emailed(case: Case, doing: str) -> str:
    """What became of the email with the link, to whoever is to do that."""
    episode = case.episode
    if case.settings.dry_run:
        return f"Please {doing}; {_THEN}."
    if episode is None:
        return _waiting(case, f"Our next check will email a link to {doing}", "it is due")
    if is_postponed(episode):
        return (
            f"Several such emails were sent within a day, so the one with a link to {doing} "
            "follows as soon as a day has passed."
        )
    if episode.obstacle:
        return _UNSENDABLE[episode.obstacle].format(doing=doing)
    if case.delivery is Delivery.KEPT:
        return f"Please {doing}; {_THEN}."
    if case.delivery is Delivery.REFUSED:
        return (
            f"Our email with a link to {doing} could not be delivered, so please give us an address that "
            "works."
        )
    if case.delivery is Delivery.QUEUED and len(episode.mail_ids) == 1:
        sending = f"An email with a link to {doing} is on its way, so please follow it"
        return _waiting(case, sending)
    sent = case.at(from_ms(episode.started_at))
    # A missed reminder counts as an email, but has no id.
    reminded = len(episode.mail_ids) - 1
    if reminded > 0:
        sent += " and a reminder since" if reminded == 1 else f" and {reminded} reminders since"
    return f"We emailed a link to {doing} on {sent}; please follow it, and {_THEN}."


_NOT_EMAILED = "The link to {doing} could not be emailed, and our team has been told."
_UNSENDABLE: Mapping[Obstacle, str] = {
    Obstacle.NO_ADDRESS: "We have no email address to send the link to {doing} to, so please give us one.",
    Obstacle.BAD_ADDRESS: (
        "The email address for the link to {doing} is not valid, so please give us another one."
    ),
    Obstacle.NO_LINK: (
        "There is no link to {doing} with, so an administrator of your organisation may have to do it, and "
        "our team has been told."
    ),
    Obstacle.LINK_REFUSED: _NOT_EMAILED,
    Obstacle.UNSURE: (
        "A connection was added since, but it may be another person's, so our team has been asked to choose."
    ),
}


def _removed(case: Case) -> Reply:
    connection, service = _connection(case), case.service
    seems = "seems to have been" if case.likely else "was"
    why = f"The {connection} this meeting was set up with {seems} removed from the account"
    choose = f"Please open the meeting and choose which conferencing it should use; {_THEN}."
    if case.answer["remedy"] == Remedy.REASSIGN_PROFILE:
        return f"{why}.", choose if case.settings.dry_run else _switching(case)
    if case.detail.get("to_profile_id"):
        return f"{why}, and this meeting is one that we cannot safely change ourselves.", choose
    if case.answer["remedy"] == Remedy.CONNECT_EMAIL:
        doing = _emailed(case, f"connect {service}")
        return f"{why}, and there is none that could replace it.", doing
    if case.detail.get("chosen_by"):
        return f"{why}, and what our team chose instead cannot be used now.", choose
    if case.settings.replacement == "never" or (
        service is None and case.settings.replacement == "same_provider"
    ):
        return f"{why}, and we do not replace it automatically.", choose
    count = len(case.detail.get("candidates", ()))
    if count > 1:
        return f"{why}, and the account has {count} others, so we cannot tell which one to use.", choose
    if count == 1 and not case.event.writes.keys() & set(case.detail["candidates"]):
        return f"{why}, and the account's other {connection} may be another person's.", choose
    if count == 1:
        return f"{why}, and switching to the account's other {connection} did not work.", choose
    return (
        f"{why}, and there is no other {connection} to replace it.",
        f"Please connect {service or 'a conferencing service'} to the account again, and we will switch the "
        "meeting over.",
    )


def _switching(case: Case) -> str:
    write = case.write
    if write is not None and write.accepted:
        return (
            f"We switched the meeting to the account's other connection on {case.at(from_ms(write.at))}, and "
            "its link is created automatically."
        )
    return _waiting(case, "We are switching the meeting to the account's other connection")


def _no_url(case: Case) -> Reply:
    service = case.service or "The calendar's own conferencing service"
    if case.likely:
        why = f"{service} does not seem to be available in this calendar, so this meeting got no link."
    else:
        why = f"{service} was asked for a link for this meeting and returned none{_notified_at(case, 'on')}."
    return why, (
        "Please ask an administrator to check that online meetings are licensed and switched on for this "
        f"calendar; {_THEN}."
    )


def _outage(case: Case) -> Reply:
    service = case.service or "The conferencing service"
    since = _notified_at(case, "since")
    why = f"{service} has been unable to create links{since}, so this meeting has none yet."
    if case.answer["remedy"] == Remedy.ESCALATE:
        return why, (
            "It is tried again until it works, and our team is alerted; please have another way to meet "
            f"ready in case there is no link {_by_start(case)}."
        )
    return why, _waiting(case, "Nothing needs to be done, as it is tried again until it works")


def _unexplained(case: Case) -> Reply:
    asked_at = case.at(from_ms(case.event.asked_at))
    why = (
        f"The {_link(case)} for this meeting has been in preparation since {asked_at}, and we have found no "
        "reason for the delay."
    )
    told = case.alerted
    alerted = f"Our team was alerted on {case.at(told)}" if told else "Our next check alerts our team"
    return why, (
        f"{alerted}; please have another way to meet ready in case there is no link {_by_start(case)}."
    )


def _by_start(case: Case) -> str:
    return f"by {case.start}" if case.event.starts_at is not None else "in time"


def _parked(case: Case) -> Reply:
    parked_at = next((from_ms(at) for at, what, _ in reversed(case.event.history) if what == "parked"), None)
    on = f" on {case.at(parked_at)}" if parked_at else ""
    return (
        f"An error on our side keeps us from checking this meeting, and our team was alerted{on}.",
        f"Until it is fixed, please check the calendar entry for the {_link(case)}.",
    )


#: For causes without a fixed reply in the table.
BUILDERS: Mapping[Cause, Callable[[Case], Reply]] = {
    Cause.GENERATING: _generating,
    Cause.CREDENTIALS_EXPIRED: _expired,
    Cause.PROFILE_REMOVED: _removed,
    Cause.MISSING_MEETING_URL: _no_url,
    Cause.PROVIDER_OUTAGE: _outage,
    Cause.UNEXPLAINED: _unexplained,
}


def _waiting(case: Case, clause: str, again: str = "we will check again") -> str:
    """The clause, with the time of our next check; during a pause, only that checks are paused."""
    if case.paused_since is not None:
        return (
            f"Our checks have been paused since {case.at(case.paused_since)}, and this meeting is picked up "
            "automatically when they resume."
        )
    moment = case.next_check_at
    if moment is None:
        return f"{clause}."
    soon = moment - case.now < timedelta(minutes=1)
    return f"{clause}; {again} {'within a minute' if soon else f'by {case.at(moment)}'}."


def _notified_at(case: Case, word: str) -> str:
    notice = case.event.notice
    return f" {word} {case.at(from_ms(notice[2]))}" if notice else ""


def _first(text: str) -> str:
    return text[:1].upper() + text[1:]


def _link(case: Case) -> str:
    return f"{case.service} link" if case.service else "link"


def _connection(case: Case) -> str:
    return f"{case.service} connection" if case.service else "conferencing connection"


def _length(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    if seconds < 60:
        return f"{seconds} seconds"
    minutes = -(-seconds // 60)
    return "a minute" if minutes == 1 else f"{minutes} minutes"
