"""The board's dead letters: a list, and one in full, with secrets and addresses masked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from config.logging import Redaction
from worker.intake.replay import DROPPED, REPLAYED, forgotten_account, masked_kwargs
from worker.ledger.dead_letters import KeptLetter
from worker.ledger.ledger import Ledger
from worker.ledger.refusals import masked
from worker.web.board.listing import LISTED, Cell, Filter, Listing, Table, To, asked_of, to_account
from worker.web.board.urls import letter_url

#: How much of a reason a row shows.
LONGEST = 300
#: How many of those that a person replayed or dropped are shown.
HANDLED = 10
_ADDRESS = re.compile(r"[^\s\"'<>@,;:()\[\]]{1,64}@[A-Za-z0-9\u0080-\uffff.-]{1,255}")
FILTERS = (Filter("task", "Task"), Filter("account", "Account"))
HEADINGS = ("kept at (UTC)", "letter", "account", "why")
DONE = ("at (UTC)", "letter", "task", "what", "by")


@dataclass(frozen=True, slots=True)
class LetterPage:
    """One letter."""

    kept: KeptLetter
    reason: str
    #: The payload as JSON, masked; None if it cannot be opened.
    payload: str | None
    traceback: str | None
    sub: str | None
    #: Sending it again would bring back an account that was forgotten.
    brings_back: bool


def read_letters(ledger: Ledger, redaction: Redaction, given: Mapping[str, str]) -> Listing:
    """The page that these parameters ask for, the newest first."""
    asked = asked_of(given, FILTERS)

    def fits(kept: KeptLetter) -> bool:
        task, sub = kept.letter.task, _sub(kept)
        return _short(asked.get("task", task)) == _short(task) and asked.get("account", sub) == sub

    letters, after = ledger.dead_letters.page(LISTED, given.get("after"), fits)
    handled = [
        (each.at, each.id, _short(each.task), each.how, each.by)
        for each in ledger.dead_letters.handled(HANDLED)
    ]
    return Listing(
        "Dead letters",
        "/dead-letters",
        Table(HEADINGS, [_row(each, redaction) for each in letters]),
        FILTERS,
        asked,
        after,
        None if asked else len(ledger.dead_letters),
        "What could not be carried out. Each is kept until a person sends it again or drops it.",
        done={REPLAYED: "Sent again.", DROPPED: "Dropped."}.get(given.get("done", ""), ""),
        beside=(Table(DONE, handled, "Nothing yet.", "Lately sent again or dropped"),),
    )


def read_letter(ledger: Ledger, redaction: Redaction, letter_id: str) -> LetterPage | None:
    """One letter; None if there is none."""
    kept = ledger.dead_letters.find(letter_id)
    if kept is None:
        return None
    payload = None if kept.sealed else masked_kwargs(kept, redaction)
    said = kept.letter.traceback
    return LetterPage(
        kept,
        without_addresses(redaction.mask(kept.sealed or kept.letter.reason)),
        None if payload is None else without_addresses(json.dumps(payload, indent=2, ensure_ascii=False)),
        without_addresses(redaction.mask(said)) if said else None,
        _sub(kept),
        kept.obstacle is None and forgotten_account(ledger, kept, ()) is not None,
    )


def without_addresses(text: str) -> str:
    """A text with every email address masked."""
    return _ADDRESS.sub(lambda found: masked(found[0]), text)


def _row(kept: KeptLetter, redaction: Redaction) -> tuple[Cell, ...]:
    reason = without_addresses(redaction.mask(kept.sealed or kept.letter.reason))
    return (
        kept.at,
        To(letter_url(kept.letter_id), _short(kept.letter.task) or "unreadable"),
        to_account(_sub(kept)),
        reason if len(reason) <= LONGEST else f"{reason[:LONGEST]}…",
    )


def _short(task: str) -> str:
    return task.removeprefix("conferencing.")


def _sub(kept: KeptLetter) -> str | None:
    sub = kept.letter.kwargs.get("sub")
    return sub if isinstance(sub, str) and sub else None
