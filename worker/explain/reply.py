"""The answer to "why has this meeting no link yet?" in two sentences that may go to a customer as they are.

Pure: from a case to words. They name the service and times where these are known, and use none of the words
that only this program's operators know.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from worker.diagnosis.model import Cause, Remedy, State
from worker.explain.case import Case, Post
from worker.ledger.records import from_ms

Reply = tuple[str, str]

_THEN = "the link is then created by itself"


def reply(case: Case) -> Reply:
    """Why the meeting has no link (or that it has), and what happens or has to happen next."""
    if case.state is State.ASSIGNED:
        return _assigned(case)
    if case.cause is Cause.ACCOUNT_UNAUTHORIZED:
        return _unauthorized(case)
    if case.event.parked:
        return _parked(case)
    if case.cause is None:
        return _unseen(case)
    return _REPLIES[case.cause](case)


def _assigned(case: Case) -> Reply:
    ready = f"This meeting has its {_link(case)}."
    return ready, "It can be found in the calendar entry, and nothing more needs to be done."


def _unseen(case: Case) -> Reply:
    if case.event.failures:
        why = "This meeting could not be checked yet, because its calendar could not be reached."
        return why, _waiting(case, "Nothing needs to be done, since we keep trying")
    why = "This meeting has reached us and is waiting for its first check."
    return why, _waiting(case, "Nothing needs to be done", "we check it")


def _generating(case: Case) -> Reply:
    asked_at = from_ms(case.event.asked_at)
    if case.now - asked_at < case.rules.grace:
        usual = _length(case.rules.grace)
        why = f"The {_link(case)} for this meeting is still being created, which may take up to {usual}."
        return why, _waiting(case, "Nothing needs to be done: the link appears by itself")
    why = (
        f"The {_link(case)} for this meeting has been in preparation since {case.at(asked_at)}, which is "
        "longer than usual, but nothing that we can see is wrong."
    )
    return why, _waiting(
        case, "Nothing needs to be done, since our team is alerted if the link does not come in time"
    )


def _expired(case: Case) -> Reply:
    perhaps = " has probably expired" if case.likely else " has expired"
    why = f"The {_connection(case)} of this account{perhaps}, so no link can be created for this meeting."
    episode, service = case.episode, case.service or "the conferencing service"
    if case.rules.dry_run:
        return why, f"Please connect {service} again, after which the link is created by itself."
    if episode is None:
        if not case.read_anew:
            why = f"{_first(service)} had been disconnected from this account, and was connected again since."
            return why, _waiting(case, "Nothing needs to be done: the link is created by itself")
        sending = f"An email with a link to connect {service} again is sent with our next check"
        return why, _waiting(case, sending, "that is due")
    if episode.mails == 0:
        return why, _unsendable(episode.obstacle, service)
    if case.post is Post.REFUSED:
        return why, (
            f"Our email with a link to connect {service} again could not be delivered, so please let us know "
            "an address that works."
        )
    if case.post is Post.QUEUED and len(episode.mail_ids) == 1:
        sending = f"An email with a link to connect {service} again is on its way, and {_THEN}"
        return why, _waiting(case, sending)
    sent = case.at(from_ms(episode.started_at))
    # A reminder that was missed is counted as an email, but has no id.
    reminded = len(episode.mail_ids) - 1
    if reminded > 0:
        reminders = "a reminder" if reminded == 1 else f"{reminded} reminders"
        sent += f", followed by {reminders}"
    return why, (
        f"An email with a link to connect {service} again was sent on {sent}; please follow it, and {_THEN}."
    )


def _unsendable(obstacle: str, service: str) -> str:
    if "no email address" in obstacle:
        return (
            f"We have no email address to send the link for connecting {service} again to, so please let us "
            "know one."
        )
    if "email address" in obstacle:
        return (
            f"The email address to which the link for connecting {service} again should go is not valid, so "
            "please let us know another one."
        )
    return f"The link to connect {service} again could not be sent by email, and our team has been told."


def _removed(case: Case) -> Reply:
    connection, service = _connection(case), case.service
    seems = "seems to have been" if case.likely else "was"
    why = f"The {connection} that this meeting was set up with {seems} removed from the account"
    if case.answer["remedy"] == Remedy.REASSIGN_PROFILE:
        return f"{why}.", _switching(case)
    count = len(case.detail.get("candidates", ()))
    kind = f"{service} connection" if service else "conferencing connection"
    choose = f"Please open the meeting and choose the one that it should use, and {_THEN}."
    if case.rules.replacement == "never" or (service is None and case.rules.replacement == "same_provider"):
        return (
            f"{why}, and we do not replace it on our own.",
            f"Please open the meeting and choose the conferencing that it should use, and {_THEN}.",
        )
    if count > 1:
        return (
            f"{why}, and the account has {count} others, so we cannot tell which one it should use.",
            choose,
        )
    if count == 1:
        return f"{why}, and switching it to the account's other {kind} did not succeed.", choose
    return (
        f"{why}, which has no other {kind} that could take its place.",
        f"Please connect {service or 'a conferencing service'} to the account again, and we then switch the "
        "meeting over and its link is created.",
    )


def _switching(case: Case) -> str:
    if case.rules.dry_run:
        return f"Please open the meeting and choose the conferencing that it should use, and {_THEN}."
    write = case.write
    if write is not None and write.accepted:
        return (
            f"We switched the meeting to the account's other connection on {case.at(from_ms(write.at))}, and "
            "its link is created by itself."
        )
    return _waiting(
        case,
        "We switch the meeting to the account's other connection, and its link is then created by itself",
    )


def _past(case: Case) -> Reply:
    return (
        f"This meeting began on {case.start} before its {_link(case)} was created, and none is created for a "
        "meeting that has begun.",
        "If it is still to take place, please move it to a time in the future.",
    )


def _no_url(case: Case) -> Reply:
    service = case.service or "The calendar's own conferencing service"
    if case.likely:
        why = f"{service} seems not to be available in this calendar, so this meeting could get no link."
    else:
        why = f"{service} was asked for a link for this meeting and returned none{_told_at(case)}."
    return why, (
        "Please have an administrator check that online meetings are licensed and switched on for this "
        f"calendar, and {_THEN}."
    )


def _outage(case: Case) -> Reply:
    service = case.service or "The conferencing service"
    since = _told_at(case, "since ")
    why = f"{service} has not been able to create links{since}, so this meeting has none yet."
    return why, _waiting(case, "Nothing needs to be done, since it is tried again until it succeeds")


def _unauthorized(case: Case) -> Reply:
    if case.account.credentials is None:
        why = "This account has not been connected to us, so we cannot check this meeting or its link."
        return why, "Please connect the account, and we then take up its meetings by ourselves."
    why = "We no longer have access to this account's calendar, so we cannot check this meeting or its link."
    return why, "Please connect the account again, and we then take up its meetings by ourselves."


def _gone(case: Case) -> Reply:
    if case.likely:
        why = "This meeting can no longer be found in the calendar, so no link is created for it."
    else:
        why = "This meeting was deleted from the calendar, so no link is created for it."
    return why, "If it is still to take place, please create it again."


def _unexplained(case: Case) -> Reply:
    asked_at = case.at(from_ms(case.event.asked_at))
    why = (
        f"The {_link(case)} for this meeting has been in preparation since {asked_at}, and we have found no "
        "reason why it has not come."
    )
    told = case.since(Cause.UNEXPLAINED)
    alerted = (
        f"Our team was alerted on {case.at(told)}" if told else "Our team is alerted with our next check"
    )
    plan = "please have another way to meet at hand"
    if case.event.starts_at is not None:
        return why, f"{alerted}; in case there is no link on {case.start}, {plan}."
    return why, f"{alerted}; in case there is no link in time, {plan}."


def _parked(case: Case) -> Reply:
    told = next((from_ms(at) for at, what, _ in reversed(case.event.history) if what == "parked"), None)
    on = f" on {case.at(told)}" if told else ""
    return (
        f"An error on our side keeps us from checking this meeting, and our team was alerted{on}.",
        f"Until that is mended, please look into the calendar entry to see whether it has its {_link(case)}.",
    )


_REPLIES: dict[Cause, Callable[[Case], Reply]] = {
    Cause.GENERATING: _generating,
    Cause.CREDENTIALS_EXPIRED: _expired,
    Cause.PROFILE_REMOVED: _removed,
    Cause.EVENT_IN_PAST: _past,
    Cause.MISSING_MEETING_URL: _no_url,
    Cause.PROVIDER_OUTAGE: _outage,
    Cause.EVENT_GONE: _gone,
    Cause.UNEXPLAINED: _unexplained,
}


def _waiting(case: Case, clause: str, again: str = "we check again") -> str:
    """The clause, with when we check next; or that checks are paused, which is then what matters."""
    if case.paused_since is not None:
        return (
            f"Our checks have been paused since {case.at(case.paused_since)}, and this meeting is taken up "
            "again by itself as soon as they go on."
        )
    moment = case.next_check_at
    if moment is None:
        return f"{clause}."
    soon = moment - case.now < timedelta(minutes=1)
    return f"{clause}; {again} {'within a minute' if soon else f'by {case.at(moment)}'}."


def _told_at(case: Case, word: str = "on ") -> str:
    notice = case.event.notice
    return f" {word}{case.at(from_ms(notice[2]))}" if notice else ""


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
