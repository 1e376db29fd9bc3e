"""The details of an answer: what was seen and done, what happens next, what the reader can do. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from worker.diagnosis.cause_table import TABLE
from worker.diagnosis.model import Cause, Remedy, Rung, State
from worker.explain.case import Case, Delivery
from worker.ledger.records import MOMENTS, UNTRACKED, TrackedEvent, Untracked, from_ms, run_of
from worker.reconcile.episodes import CONNECT_OBSTACLES, OBSTACLES
from worker.wording import line, second, spoken, utc

#: Histories are stored in the contract's words; this is how they are shown.
_SEEN: Mapping[str, str] = {
    **{cause.value: row.label for cause, row in TABLE.items()},
    State.ASSIGNED.value: "it has its link",
}
_DONE: Mapping[str, str] = {
    Remedy.NONE.value: "settled",
    Remedy.WAIT.value: "waited",
    Remedy.REASSIGN_PROFILE.value: "another profile chosen",
    Remedy.RELINK_EMAIL.value: "left to the user, by email",
    Remedy.CONNECT_EMAIL.value: "left to the user, by email",
    Remedy.ESCALATE.value: "left to a person, who is told once",
    Remedy.FALLBACK.value: "the last resort chosen",
    Remedy.CLOSE.value: "closed",
}
#: Of these a history has more than a word on what was done.
_SAID: Mapping[str, str] = {
    "look_failed": "look failed",
    "write_failed": "Update Event got no answer",
    "write_refused": "Update Event was refused",
    "parked": "parked",
    "chosen": "a person chose",
    "choice_withdrawn": "the choice was withdrawn",
    "letter_written": "letter written",
    "acknowledgement_over": "acknowledged no longer",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the history."""

    at: datetime
    seen: str
    done: str
    #: How often in a row, and when last.
    times: int = 1
    last: datetime | None = None
    #: A run of looks goes on over it: it says what people did meanwhile.
    aside: bool = False

    @property
    def text(self) -> str:
        """The line without its time."""
        again = f" ({self.times} times, last at {second(self.last)})" if self.last else ""
        return f"{self.seen}: {self.done}{again}"


def history(case: Case) -> list[Entry]:
    """What was seen and done, oldest first; repetitions share a line."""
    return _told([*_entries(case.event), *_beside(case)])


def history_of(former: Untracked) -> list[Entry]:
    """The same for an event that is not tracked any more."""
    return _told([*_entries(former.event), Entry(former.at, *UNTRACKED)])


def _told(entries: Sequence[Entry]) -> list[Entry]:
    lines: list[Entry] = []
    for entry in sorted(entries, key=lambda entry: entry.at):
        places = reversed(range(len(lines)))
        place = next((n for n in places if entry.aside or not lines[n].aside), None)
        if place is not None and (lines[place].seen, lines[place].done) == (entry.seen, entry.done):
            # The second line of a run counts the first one as well.
            more = max(1, entry.times - 1)
            lines[place] = replace(lines[place], times=lines[place].times + more, last=entry.at)
        else:
            lines.append(entry)
    return lines


def _entries(event: TrackedEvent) -> Iterator[Entry]:
    """What an event's record says."""
    if event.tracked_at:
        yield Entry(from_ms(event.tracked_at), *event.origin)
    for each in event.history:
        (at, what, _), (done, times) = each, run_of(each)
        last = from_ms(at) if times > 1 else None
        if what in _SAID or what in MOMENTS:
            yield Entry(from_ms(at), _SAID.get(what, what), line(done), times, last, aside=what in MOMENTS)
        else:
            text = _DONE.get(done, line(done))
            if what == Cause.ACCOUNT_UNAUTHORIZED and done == Remedy.CLOSE:
                # The remedy "close" is about the account, not the event.
                text = "no calls until it is connected"
            yield Entry(from_ms(at), _SEEN.get(what, line(what)), text, times, last)
    for profile_id, write in event.writes.items():
        if write.accepted and profile_id not in [rung.mark for rung in Rung]:
            yield Entry(from_ms(write.at), "Update Event was accepted", f"profile {line(profile_id)} set")
    if event.notice:
        word, subtype, at = event.notice
        yield Entry(from_ms(at), f"notified: {word}" + (f" ({line(subtype)})" if subtype else ""), "noted")


def _beside(case: Case) -> Iterator[Entry]:
    """What is known of it beside its record."""
    if case.acknowledged:
        yield Entry(from_ms(case.acknowledged.at), "acknowledged", case.acknowledged.text, aside=True)
    if case.episode and case.episode.mail_ids:
        began, asked = case.episode.started_at, case.answer["remedy"] == Remedy.CONNECT_EMAIL
        if any((at, what) == (began, "letter_written") for at, what, _ in case.event.history):
            return
        seen = TABLE[Cause.PROFILE_REMOVED if asked else Cause.CREDENTIALS_EXPIRED].label
        written = "connect email written" if asked else "relink email written"
        yield Entry(from_ms(began), seen, written)


def following(case: Case) -> list[str]:
    """What happens next, and when."""
    if case.state is not State.PENDING:
        return ["Nothing. The event is settled, and kept until its history expires."]
    if case.lacks_token:
        return ["No call to Cronofy until the application gives an access token; then a look right away."]
    if case.cause is Cause.ACCOUNT_UNAUTHORIZED:
        return ["No look until the account is connected; then right away."]
    answered = list(_answered(case))
    if case.event.parked:
        return ["No look until it is replayed or asked for.", *answered]
    return [*_plans(case), *answered]


def _answered(case: Case) -> Iterator[str]:
    given = case.acknowledged
    if given is not None:
        until = f"{utc(from_ms(given.until))}, or until " if given.until is not None else ""
        yield f"Nobody is told of it again until {until}its cause changes: it was acknowledged {given.text}."


def _plans(case: Case) -> Iterator[str]:
    if case.paused_since is not None:
        since = utc(case.paused_since)
        yield f"An operator paused the fleet at {since}: no looks and no email until resumed."
    moment = case.next_check_at
    if moment is not None:
        left = moment - case.now
        yield f"Next look: {utc(moment)}, " + (
            f"in {spoken(left)}." if left.total_seconds() >= 1 else "due now."
        )
    if case.event.failures:
        looks = "look" if case.event.failures == 1 else f"{case.event.failures} looks"
        yield f"The last {looks} failed; nothing is concluded from that."
    yield from _last_resort(case)
    if case.settings.dry_run:
        yield "Dry run: nothing is written to Cronofy, and nothing is sent."
    elif case.cause is Cause.CREDENTIALS_EXPIRED or case.answer["remedy"] == Remedy.CONNECT_EMAIL:
        yield from _mailing(case)
    elif case.answer["remedy"] == Remedy.REASSIGN_PROFILE:
        replacement = case.detail.get("to_profile_id")
        done = case.write is not None and case.write.accepted
        yield f"Profile {replacement} " + (
            "was set; the next read confirms it." if done else "will be set by Update Event."
        )


def _last_resort(case: Case) -> Iterator[str]:
    planned = case.detail.get("last_resort")
    if not case.settings.fallback or case.unseen:
        return
    if planned is None:
        yield "The last resort is on, but nothing of it is left that fits this event."
        return
    what = f"{planned['rung']} ({line(planned['to_profile_id'])})"
    at = datetime.fromisoformat(planned["at"])
    write = case.event.writes.get(Rung(planned["rung"]).mark)
    if write is not None and write.accepted:
        yield f"The last resort, {what}, was set at {utc(from_ms(write.at))}; the next read confirms it."
    else:
        when = "now" if at <= case.now else f"at {utc(at)}, if it still has no link"
        yield f"Last resort: {what}, {when}."


def _mailing(case: Case) -> Iterator[str]:
    asked = case.answer["remedy"] == Remedy.CONNECT_EMAIL
    kind = "connect email" if asked else "relink email"
    if case.delivery is Delivery.KEPT:
        yield (
            f"The latest {kind} was not sent from here: it is a file, for want of a mail server, or left to "
            "the application."
        )
    elif case.delivery is Delivery.QUEUED:
        yield f"The latest {kind} is in the outbox."
    elif case.delivery is Delivery.REFUSED:
        yield f"The mail server refused the latest {kind} for good."
    if case.episode and case.episode.obstacle:
        yield (CONNECT_OBSTACLES if asked else OBSTACLES)[case.episode.obstacle]
    if case.next_reminder is not None:
        done = "connects it" if asked else "reconnects"
        yield f"Next reminder email: {utc(case.next_reminder)}, unless the user {done} first."


def what_helps(case: Case) -> tuple[str, str]:
    """What a support person can do now, and what an operator can: commands, settings, whom to ask."""
    refused = case.cause is Cause.ACCOUNT_UNAUTHORIZED
    if case.state is State.ASSIGNED:
        return "Nothing more. The link is in the calendar entry.", "Nothing. The outcome is in the stream."
    if case.event.parked and not refused:
        return (
            "Send the answer above, and ask the operator when it will be fixed.",
            "See `reconciler dead-letters`, fix what its traceback shows, and replay it.",
        )
    if refused and case.never_connected:
        return (
            "Nothing the customer can do: ask the operator why the account was not connected.",
            "Send conferencing.connect_account the account's tokens: it was never connected here.",
        )
    if case.lacks_token:
        return (
            "Nothing the customer can do: ask the operator why the application gives no access token.",
            "Send conferencing.connect_account the account's next access_token, with its expires_in.",
        )
    if case.cause is None:
        support = "Wait for the first look."
        operator = "Wait. If looks are late, check `reconciler status`: is there a worker, and beat?"
    else:
        row = TABLE[case.cause]
        support = row.support
        operator = f"{row.operator} Possible reasons: {row.perhaps}." if row.perhaps else row.operator
    if case.state is State.PENDING and case.paused_since is not None and not refused:
        operator = "End the pause with `reconciler resume`."
    return support, operator
