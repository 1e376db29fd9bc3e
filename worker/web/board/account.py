"""The board's page of one account: how it stands, what it waits for, and all that belongs to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from config.settings import Settings
from worker.diagnosis.cause_table import label
from worker.ledger.directory import Brief
from worker.ledger.ledger import Ledger
from worker.ledger.lists import Wanted
from worker.ledger.mails import Known
from worker.ledger.paging import PART
from worker.ledger.records import Account, Choice, Episode, Stored, from_ms
from worker.ledger.refusals import masked
from worker.mail.advice import headline
from worker.reconcile.episodes import CONNECT_OBSTACLES, OBSTACLES, is_of_service, key_of_service
from worker.web.board.events import events_table
from worker.web.board.letters import without_addresses
from worker.web.board.listing import Cell, Table, To, to_event
from worker.web.board.mails import mails_table
from worker.web.board.outcomes import outcomes_table
from worker.web.board.urls import incident_url, list_url
from worker.wording import amount, provider, second

#: How many rows each of its tables shows.
SHOWN = 20
PENDING = "Pending events, the soonest first"


@dataclass(frozen=True, slots=True)
class AccountPage:
    """One account."""

    brief: Brief
    #: Sentences.
    waits_for: tuple[str, ...]
    #: Names and texts.
    facts: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    choices: tuple[Choice, ...]
    #: Where all of its pending events are listed, if it has any.
    more: str | None


def read_account(ledger: Ledger, settings: Settings, sub: str) -> AccountPage | None:
    """One account; None if nothing is stored of it."""
    briefs = ledger.directory.briefs([sub]) if sub else []
    if not briefs:
        return None
    [brief], account = briefs, ledger.account(sub)
    events = ledger.lists.page(Wanted(account=sub), SHOWN).events
    incidents, more_incidents = _incidents(ledger, sub)
    settled, more_settled = ledger.newest_settled(sub, SHOWN)
    outcomes = ledger.outcomes.of_account(sub, SHOWN)
    mails = _mails(ledger, account, outcomes)
    profiles = ("profile", "service", "name", "asked to reconnect since (UTC)")
    return AccountPage(
        brief,
        (*_waits_for(account, brief, ledger.now()), *(f"A person: {what.text}." for what, _ in incidents)),
        tuple(_facts(account)),
        (
            events_table(events, _of_some(brief.pending > PART, PENDING)).without("account"),
            Table(
                ("settled", "event", "starts (UTC)"),
                [_settled(sub, each) for each in settled],
                title=_of_some(more_settled, "Events that were settled lately"),
            ),
            Table(("incident", "of its events"), incidents, title=_of_some(more_incidents, "Incidents")),
            mails_table(ledger, settings, mails, "Emails that wait").without("account"),
            outcomes_table(outcomes, "Outcomes, the newest first").without("account"),
            Table(profiles, list(_profiles(account)), title="Profiles"),
        ),
        account.choices,
        list_url("/events", account=sub) if brief.pending else None,
    )


def _waits_for(account: Account, brief: Brief, now: datetime) -> Iterator[str]:
    if not brief.is_connected:
        yield "To be connected: no credentials of it were ever given."
    elif account.lost:
        since = f", since {second(brief.lost_since)}" if brief.lost_since else ""
        yield f"To be connected again: Cronofy refuses it{since}. No call is made for it."
    elif brief.owing_since:
        yield f"The application's next access token. The former one lapsed at {second(brief.owing_since)}."
    for key, episode in [*account.memo.episodes.items(), *account.connects.items()]:
        yield _asked(account, key, episode)
    if brief.leased_until and brief.leased_until > now:
        yield "The end of a look that is under way."
    elif brief.due_since:
        yield f"A look, which has been due since {second(brief.due_since)}."
    elif brief.next_look:
        yield f"Its next look, at {second(brief.next_look)}."
    elif not brief.pending:
        yield "Nothing: none of its events is pending."


def _asked(account: Account, key: str, episode: Episode) -> str:
    connects = is_of_service(key)
    if connects:
        what = f"to connect {provider(key.removeprefix(key_of_service('')))}"
    else:
        named = account.memo.providers.get(key)
        what = f"to reconnect {provider(named)} ({key})" if named else f"to reconnect {key}"
    obstacles = CONNECT_OBSTACLES if connects else OBSTACLES
    if episode.obstacle:
        return obstacles.get(episode.obstacle) or f"Its user {what}, but they cannot be asked."
    times = amount(episode.mails, "email") if episode.mails else "no email yet"
    return f"Its user {what}: {times} since {second(from_ms(episode.started_at))}."


def _facts(account: Account) -> Iterator[tuple[str, str]]:
    yield "data centre", account.data_center
    yield "its user", masked(account.email) if account.email else "no address is known"
    if account.credentials is None:
        yield "tokens", "none"
    elif account.token is None:
        yield "tokens", "refreshed by us"
    else:
        lapses = second(from_ms(account.token.lapses_at))
        asked = "" if account.token.ask_at else ", and the application was asked for the next"
        yield "tokens", f"given by the application; the present one lapses at {lapses}{asked}"
    if account.last_notice_at:
        yield "last notification", second(account.last_notice_at)
    if account.channel is not None:
        why = account.channel.refused
        state = "open" if account.channel.channel_id else f"none{': ' + why if why else ''}"
        seen = f", as seen at {second(account.channel_seen)}" if account.channel_seen else ""
        yield "channel", state + seen
    if account.unreadable:
        yield "unreadable", ", ".join(account.unreadable)


def _settled(sub: str, stored: Stored) -> tuple[Cell, ...]:
    event = stored.event
    state = str(event.last["state"]) if event.last else "unknown"
    text = "has its link" if state == "assigned" else f"closed: {label(event.cause)}"
    return text, to_event(sub, event.key), event.starts_at


def _of_some(some: bool, title: str) -> str:
    """What stands above a table, which may be of some events only: an account's events have no order."""
    return f"{title}, among some thousands that were read" if some else title


def _incidents(ledger: Ledger, sub: str) -> tuple[list[tuple[To, int]], bool]:
    rows = []
    counted, more = ledger.lists.incidents_of(sub)
    for incident_id, events in sorted(counted.items()):
        found = ledger.incidents.find(incident_id)
        what = headline(found.kind, found.provider) if found else "an incident that is over"
        rows.append((To(incident_url(incident_id), what), events))
    return rows, more


def _mails(ledger: Ledger, account: Account, outcomes: Sequence[Mapping[str, Any]]) -> list[Known]:
    """Those that wait: of its episodes, and those that outcomes name."""
    episodes = [*account.memo.episodes.values(), *account.connects.values()]
    ids = [mail_id for episode in episodes for mail_id in episode.mail_ids]
    named = [str(each["detail"]["mail_id"]) for each in outcomes if "mail_id" in each["detail"]]
    # Nobody else's, whatever an outcome says.
    found = ledger.mails.of(list(dict.fromkeys([*ids, *named])))
    return [each for each in found if each.sub == account.sub]


def _profiles(account: Account) -> Iterator[tuple[Cell, ...]]:
    episodes: Mapping[str, Episode] = account.memo.episodes
    for profile_id in sorted({*account.memo.providers, *account.profile_names, *episodes}):
        named = account.memo.providers.get(profile_id)
        since = from_ms(episodes[profile_id].started_at) if profile_id in episodes else None
        # Its name is often its user's address.
        name = without_addresses(account.profile_names.get(profile_id, "")) or None
        yield profile_id, provider(named) if named else None, name, since
