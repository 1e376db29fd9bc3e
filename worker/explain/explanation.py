"""The answer of `reconciler explain`: builds one event's case from the ledger, and puts it into lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from textwrap import wrap

from redis import Redis

from config.settings import Settings
from config.terminal import Line, shown
from worker.diagnosis.model import Cause, State
from worker.explain.case import Case, Delivery
from worker.explain.chronicle import following, history, history_of, what_helps
from worker.explain.reply import reply
from worker.explain.suggestions import Ids, nearest
from worker.ledger.ledger import Ledger
from worker.ledger.lookup import is_known
from worker.ledger.opening import keyless_ledger
from worker.ledger.outbox import Outbox
from worker.ledger.records import Episode, EventKey, Stored, from_ms
from worker.reconcile.answer import Explained, recorded_answer
from worker.wording import line, second, utc


@dataclass(frozen=True, slots=True)
class NotTracked:
    """What is known of an event that is not tracked."""

    #: The nearest ids that are.
    near: list[Ids]
    #: What it was, if a caller untracked it lately.
    former: Stored | None
    #: Whether anything is stored for its account.
    account_known: bool


def ask(settings: Settings, redis: Redis, sub: str, key: EventKey, *, live: bool) -> Case | NotTracked:
    """The case of one event, from a live read or the ledger alone.

    From the ledger alone, it needs neither client credentials nor a vault key.
    """
    ledger = keyless_ledger(redis, settings)
    found = None
    if live and ledger.find(sub, key):
        from worker.explain.live import read_now  # noqa: PLC0415 - `--offline` needs none of it

        found = read_now(settings, sub, key)
    return recorded_case(ledger, settings, sub, key, found) or not_tracked(ledger, sub, key)


def not_tracked(ledger: Ledger, sub: str, key: EventKey, *, at_once: bool = False) -> NotTracked:
    """What to say of an event that is not tracked; `at_once`, with fewer guesses at what was meant."""
    near = nearest(ledger, sub, key, at_once=at_once)
    return NotTracked(near, ledger.find_untracked(sub, key), is_known(ledger, sub))


def recorded_case(
    ledger: Ledger, settings: Settings, sub: str, key: EventKey, found: Explained | None = None
) -> Case | None:
    """What the ledger knows of an event, with the diagnosis `found` or the last look's; None if not tracked.

    Reads a few keys, however much is tracked.
    """
    stored = ledger.find(sub, key)
    if stored is None:
        return None
    account = ledger.account(sub)
    answer = found.answer if found else recorded_answer(sub, stored.event, account.lost)
    case = Case(
        answer=answer,
        event=stored.event,
        account=account,
        now=ledger.now(),
        settings=settings,
        paused_since=ledger.paused_since(),
        live=found is not None and found.live,
        acknowledged=ledger.acknowledgement(sub, key),
    )
    return replace(case, delivery=_delivery(Outbox(ledger), case.episode))


def _delivery(outbox: Outbox, episode: Episode | None) -> Delivery | None:
    if episode is None or not episode.mail_ids:
        return None
    newest = episode.mail_ids[-1]
    if outbox.holds(newest):
        return Delivery.QUEUED
    if outbox.went_nowhere(newest):
        return Delivery.KEPT
    return Delivery.REFUSED if outbox.was_refused(newest) else Delivery.SENT


def in_lines(case: Case, width: int) -> Iterator[Line]:
    """The answer in two sentences, then its details.

    Text is wrapped to the width, but ids and links are never broken, so that they can be copied.
    """
    for part in _wrapped(" ".join(reply(case)), width):
        yield [(part, "bold")]
    for title, rows in sections(case):
        yield from _section(title, rows, width)


def former_in_lines(former: Stored, width: int) -> Iterator[Line]:
    """The history of an event that was untracked."""
    entries = [(f"{second(entry.at)} ", entry.text) for entry in history_of(former)]
    return _section("History (UTC)", entries, width)


def _section(title: str, rows: Sequence[tuple[str, str]], width: int) -> Iterator[Line]:
    yield []
    yield [(title, "bold")]
    for name, text in rows:
        for part in _wrapped(text, width, f"  {name} "):
            yield [(part, "")]


def sections(case: Case) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Each section's title and rows; a row is its head and its text."""
    evidence = "Evidence, read just now" if case.live else f"Evidence, {_as_of(case)}"
    yield evidence, [("-", line(sentence, 2000)) for sentence in case.answer["evidence"]]
    entries = [(f"{second(entry.at)} ", entry.text) for entry in history(case)]
    yield "History (UTC)", entries
    yield "What happens next", [("-", sentence) for sentence in following(case)]
    yield "What you can do", list(zip(("support ", "operator"), what_helps(case), strict=True))
    yield "Particulars", [(f"{name:<8}", line(text, 3000)) for name, text in particulars(case)]


def particulars(case: Case) -> list[tuple[str, str]]:
    """The event and its state, in the contract's words."""
    cause, certainty = case.answer["cause"], case.answer["certainty"]
    return [
        ("meeting", f"{case.summary}, {case.start}"),
        *([("link", case.answer["join_url"])] if case.answer["join_url"] else []),
        ("state", f"{case.state.value}, {cause} ({certainty})" if cause else case.state.value),
        ("remedy", case.answer["remedy"]),
        ("account", case.answer["sub"]),
        ("calendar", case.answer["calendar_id"]),
        ("event", case.answer["event_id"]),
    ]


def _as_of(case: Case) -> str:
    # Those that found something: one that failed says nothing about the evidence.
    found = {*Cause, *State}
    looks = [at for at, what, _ in case.event.history if at >= case.event.tracked_at and what in found]
    return f"as of the last look at {utc(from_ms(looks[-1]))}" if looks else "before any look"


def _wrapped(text: str, width: int, head: str = "") -> list[str]:
    return wrap(
        shown(text),
        max(width, 40),
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
