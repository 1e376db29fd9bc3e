"""The answer of `reconciler explain`, for a person: why, the evidence, the history, what happens next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from config.logging import configure_logging
from config.settings import Settings
from worker.bootstrap import bootstrap
from worker.diagnosis.model import Cause, Remedy, State
from worker.ledger.records import EventKey, TrackedEvent, from_ms
from worker.looks import explain
from worker.reconcile.answer import recorded_answer

_WHY = {
    Cause.GENERATING: "Cronofy is still making the conference.",
    Cause.CREDENTIALS_EXPIRED: "The user's connection to the conferencing service has expired.",
    Cause.PROFILE_REMOVED: "The conferencing profile that the event asked for was removed.",
    Cause.EVENT_IN_PAST: "The event has already begun, and Cronofy makes no conference for the past.",
    Cause.MISSING_MEETING_URL: "The calendar's own conferencing service returned no meeting link.",
    Cause.PROVIDER_OUTAGE: "The conferencing service is failing at the moment.",
    Cause.ACCOUNT_UNAUTHORIZED: "Cronofy no longer gives access to this account.",
    Cause.EVENT_GONE: "The event was deleted or can no longer be found.",
    Cause.UNEXPLAINED: "The conference should be there by now, and nothing visible explains why it is not.",
}
_NEXT = {
    Remedy.NONE: "Nothing more needs to be done.",
    Remedy.WAIT: "It is looked at again by itself; nobody needs to do anything.",
    Remedy.REASSIGN_PROFILE: "Another profile is set on the event by itself, and the conference follows.",
    Remedy.RELINK_EMAIL: "The user is asked by email to connect the service again; the conference follows.",
    Remedy.ESCALATE: "A person has to help: what is known is below.",
    Remedy.CLOSE: "Nothing more is done for it.",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """A diagnosis with the record that it is about."""

    answer: dict[str, Any]
    event: TrackedEvent

    def show(self, console: Console) -> None:
        """Print it: the answer in two sentences first."""
        why, following = self.sentences
        console.print(Text(f"{why} {following}", style="bold"), soft_wrap=True)
        console.print()
        facts = Table.grid(padding=(0, 2))
        facts.add_row("event", Text(f"{self.event.summary or '(no summary)'}, {self._start}"))
        facts.add_row("state", Text(f"{self.answer['state']}, {self.answer['certainty']}"))
        facts.add_row("cause", Text(str(self.answer["cause"] or "-")))
        facts.add_row("remedy", Text(str(self.answer["remedy"])))
        facts.add_row("next look", Text(_spoken(self.answer["next_check_at"])))
        if self.answer["join_url"]:
            facts.add_row("link", Text(self.answer["join_url"]))
        console.print(facts)
        console.print(Text("\nEvidence", style="bold"))
        for sentence in self.answer["evidence"]:
            console.print(Text(f"  - {sentence}"), soft_wrap=True)
        if self.event.history:
            console.print(Text("\nHistory", style="bold"))
            table = Table("when", "found", "done", box=None, pad_edge=False)
            for at, what, done in self.event.history:
                table.add_row(f"{from_ms(at):%Y-%m-%d %H:%M:%S}", Text(what), Text(done))
            console.print(table)

    @property
    def sentences(self) -> tuple[str, str]:
        """Why it stands as it does, and what follows."""
        if self.answer["state"] == State.ASSIGNED.value:
            return "The event has its conference link.", _NEXT[Remedy.NONE]
        cause, remedy = Cause(self.answer["cause"]), Remedy(self.answer["remedy"])
        following = _NEXT[remedy]
        if cause is Cause.ACCOUNT_UNAUTHORIZED:
            following = "The account has to be connected again; its events stay tracked until then."
        return _WHY[cause], following

    @property
    def _start(self) -> str:
        start = self.event.start
        if start is None:
            return "start unknown"
        local = start.local
        return f"{local:%Y-%m-%d %H:%M %Z}" if isinstance(local, datetime) else f"{local:%Y-%m-%d} (all day)"


def explanation(
    settings: Settings, sub: str, calendar_id: str, event_id: str, *, live: bool
) -> Explanation | None:
    """Explain one event, by a live read or from the ledger; None where it is not tracked."""
    configure_logging(settings.model_copy(update={"log_level": "error"}))
    services, key = bootstrap(settings), EventKey(calendar_id, event_id)
    try:
        stored = services.ledger.find(sub, key)
        if stored is None:
            return None
        answer = explain(services, sub, key) if live else None
        lost = services.ledger.account(sub).lost
        return Explanation(answer or recorded_answer(sub, stored.event, lost), stored.event)
    finally:
        services.close()


def _spoken(moment: str | None) -> str:
    return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M:%S} UTC" if moment else "none"
