"""What stands behind an answer: what was seen and done, what happens next, what the reader can do. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from worker.diagnosis.model import Cause, Remedy, State
from worker.explain.case import Case, Post
from worker.ledger.records import from_ms
from worker.text.amounts import second, spoken
from worker.text.wording import line

#: How a history that was kept in the contract's words reads to a person.
_SEEN = {
    Cause.GENERATING: "pending, nothing wrong",
    Cause.CREDENTIALS_EXPIRED: "the profile is disconnected",
    Cause.PROFILE_REMOVED: "the profile is gone",
    Cause.EVENT_IN_PAST: "it has begun",
    Cause.MISSING_MEETING_URL: "the calendar's own service gave no link",
    Cause.PROVIDER_OUTAGE: "the service fails",
    Cause.ACCOUNT_UNAUTHORIZED: "no access to the account",
    Cause.EVENT_GONE: "it is gone",
    Cause.UNEXPLAINED: "overdue, nothing visibly wrong",
    State.ASSIGNED: "it has its link",
}
_DONE = {
    Remedy.NONE: "settled",
    Remedy.WAIT: "waited",
    Remedy.REASSIGN_PROFILE: "another profile chosen",
    Remedy.RELINK_EMAIL: "left to the user, by email",
    Remedy.ESCALATE: "left to a person, who is told once",
    Remedy.CLOSE: "closed",
}
_TROUBLE = {
    "look_failed": "the look failed",
    "write_failed": "Update Event was not answered",
    "write_refused": "Update Event was refused",
    "parked": "parked",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the history."""

    at: datetime
    seen: str
    done: str
    #: How often in a row, and the last time.
    times: int = 1
    last: datetime | None = None

    @property
    def text(self) -> str:
        """The line without its time."""
        again = f" ({self.times} times, last at {second(self.last)})" if self.last else ""
        return f"{self.seen}: {self.done}{again}"


def history(case: Case) -> list[Entry]:
    """What was seen, when, and what was done, the oldest first; what only repeats itself is one line."""
    lines: list[Entry] = []
    for entry in sorted(_entries(case), key=lambda entry: entry.at):
        if lines and (lines[-1].seen, lines[-1].done) == (entry.seen, entry.done):
            lines[-1] = replace(lines[-1], times=lines[-1].times + 1, last=entry.at)
        else:
            lines.append(entry)
    return lines


def _entries(case: Case) -> Iterator[Entry]:
    event = case.event
    if event.tracked_at:
        yield Entry(from_ms(event.tracked_at), "handed over", "tracked")
    for at, what, done in event.history:
        if what in _TROUBLE:
            yield Entry(from_ms(at), _TROUBLE[what], line(done))
        else:
            said = _DONE.get(done, line(done))  # type: ignore[call-overload]
            if what == Cause.ACCOUNT_UNAUTHORIZED:
                # The account is closed, and not the event.
                said = "no call for it until it is connected"
            yield Entry(from_ms(at), _SEEN.get(what, line(what)), said)  # type: ignore[call-overload]
    for profile_id, write in event.writes.items():
        if write.accepted:
            yield Entry(from_ms(write.at), "Update Event was accepted", f"profile {line(profile_id)} set")
    if event.notice:
        word, subtype, at = event.notice
        yield Entry(from_ms(at), f"notified: {word}" + (f" ({line(subtype)})" if subtype else ""), "noted")
    if case.episode and case.episode.mail_ids:
        yield Entry(from_ms(case.episode.started_at), "the profile is disconnected", "relink email written")


def following(case: Case) -> list[str]:
    """What happens next, and when."""
    if case.state is not State.PENDING:
        return ["Nothing: it is settled, and kept until its history expires."]
    if case.cause is Cause.ACCOUNT_UNAUTHORIZED:
        return ["No look until the account is connected; then at once."]
    if case.event.parked:
        return ["No look until it is taken up again."]
    return list(_plans(case))


def _plans(case: Case) -> Iterator[str]:
    if case.paused_since is not None:
        yield f"An operator paused the fleet at {_utc(case.paused_since)}: no look, no email until resumed."
    moment = case.next_check_at
    if moment is not None:
        left = moment - case.now
        yield f"Next look: {_utc(moment)}, " + (
            f"in {spoken(left)}." if left.total_seconds() >= 1 else "due now."
        )
    if case.event.failures:
        looks = "look" if case.event.failures == 1 else f"{case.event.failures} looks"
        yield f"The last {looks} could not read it; nothing is concluded from that."
    if case.rules.dry_run:
        yield "This is a dry run: nothing is written to Cronofy, and nothing is sent."
    elif case.cause is Cause.CREDENTIALS_EXPIRED:
        yield from _mailing(case)
    elif case.answer["remedy"] == Remedy.REASSIGN_PROFILE:
        replacement = case.detail.get("to_profile_id")
        done = case.write is not None and case.write.accepted
        yield f"Profile {replacement} " + (
            "was set; a read confirms it." if done else "is set by Update Event."
        )


def _mailing(case: Case) -> Iterator[str]:
    if case.post is Post.QUEUED:
        yield "The newest relink email is in the outbox."
    elif case.post is Post.REFUSED:
        yield "The newest relink email was refused for good by the mail server."
    if case.episode and case.episode.obstacle:
        yield case.episode.obstacle
    if case.next_reminder is not None:
        yield f"Reminder by email: {_utc(case.next_reminder)}, unless it is connected by then."


def support_can(case: Case) -> str:
    """What a support person can do."""
    if case.state is State.ASSIGNED:
        return "Nothing more. The link is in the calendar entry."
    if case.cause is None:
        return "Wait for the first look."
    if case.event.parked and case.cause is not Cause.ACCOUNT_UNAUTHORIZED:
        return "Send the answer above; ask the operator when it will be mended."
    return {
        Cause.GENERATING: "Wait. Send the answer above if the customer asks.",
        Cause.CREDENTIALS_EXPIRED: "Ask the customer to follow the link, or for an address that works.",
        Cause.PROFILE_REMOVED: "Ask which conferencing it should use; have it set in your application.",
        Cause.EVENT_IN_PAST: "Offer to move the meeting.",
        Cause.MISSING_MEETING_URL: "Put the customer's administrator on to licence and settings.",
        Cause.PROVIDER_OUTAGE: "Point to the service's status page. Nothing else helps.",
        Cause.ACCOUNT_UNAUTHORIZED: "Send the customer through your application's connect page once more.",
        Cause.EVENT_GONE: "Ask whether the meeting was called off.",
        Cause.UNEXPLAINED: "Offer another way to meet, and ask the operator.",
    }[case.cause]


def operator_can(case: Case) -> str:
    """What an operator can do: commands, settings, whom to ask."""
    if case.state is not State.PENDING:
        return "Nothing; the outcome is in the stream."
    if case.cause is Cause.ACCOUNT_UNAUTHORIZED:
        return "Enqueue conferencing.connect_account with new tokens, once the user has authorised again."
    if case.event.parked:
        return "See `reconciler dead-letters`, mend what its traceback shows, and replay it."
    if case.paused_since is not None:
        return "End the pause with `reconciler resume`."
    if case.cause is None:
        return "Wait. If looks are late, see `reconciler status`: is there a worker, and beat?"
    return {
        Cause.GENERATING: "Nothing. conferencing.reconcile_event has it looked at ahead of its turn.",
        Cause.CREDENTIALS_EXPIRED: (
            "Where no email arrives: give conferencing.connect_account another `email`, and see to "
            "RECONCILER_SMTP_URL with `reconciler doctor`."
        ),
        Cause.PROFILE_REMOVED: (
            "Have the event written with another profile and tracked again; RECONCILER_REPLACEMENT says "
            "which ones are set by themselves."
        ),
        Cause.MISSING_MEETING_URL: "Nothing here: the licence or setting is the provider's.",
        Cause.PROVIDER_OUTAGE: "Nothing: Cronofy keeps trying.",
        Cause.UNEXPLAINED: "Ask Cronofy's support, with the ids below and what the escalation lists.",
    }[case.cause]


def _utc(moment: datetime) -> str:
    return f"{second(moment)} UTC"
