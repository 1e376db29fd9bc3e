"""What must hold throughout a simulation, whatever happened: checked after each step.

The checks use only outside knowledge: what was put into the program, its outcomes stream and its outbox, and
what Cronofy and the mail server saw.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any, cast

from sandbox.world.events import Event
from tests.faults.cronofy import join_url
from tests.faults.simulation import Simulation, asks_to_connect, sent_about
from worker.diagnosis.model import Rung
from worker.diagnosis.schedule import HELD
from worker.ledger.lists import incident_list, names_of
from worker.ledger.packing import CAUSES, unpack_event
from worker.ledger.records import from_ms
from worker.ledger.vault import place_of_mail
from worker.mail.compose import read_back
from worker.reconcile.relinks import MOST_EMAILS

#: Emails for one disconnection: the first, and these after it.
REMINDERS = (timedelta(days=1), timedelta(days=3), timedelta(days=7))


@dataclass(slots=True)
class Watched:
    """One tracking of an event: from `track` until the event is settled, untracked or tracked again."""

    number: int
    final: str | None = None
    #: The outcomes since it last began to wait.
    reported: set[tuple[Any, ...]] = field(default_factory=set)
    #: The profiles, and rungs of the last resort, reported as set on it.
    reassigned: list[str] = field(default_factory=list)
    #: When somebody last answered for it.
    answered_at: str = ""


@dataclass(slots=True)
class Invariants:
    """The invariants of one simulation; `check` reads what is new and reports violations."""

    simulation: Simulation
    watched: dict[tuple[str, str], Watched] = field(default_factory=dict)
    #: When relink emails were composed, for each (sub, profile, episode).
    composed: dict[tuple[str, str, int], list[datetime]] = field(default_factory=dict)
    requested: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    #: How often each (sub, profile) was connected again: emails about one disconnection belong together.
    episodes: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Emails in the outbox already checked, with their profile.
    mails: dict[str, tuple[str, str] | None] = field(default_factory=dict)
    #: The dates of the emails that each account's user got, by how often it was forgotten before.
    got: dict[tuple[str, int], list[datetime]] = field(default_factory=dict)
    lives: Counter[str] = field(default_factory=Counter)
    #: The accounts reported as lost or connected; a forgotten one is in neither.
    standing: dict[str, str] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    ids: set[str] = field(default_factory=set)
    #: The emails that tell users of the last resort.
    letters: set[str] = field(default_factory=set)
    #: How often each incident was told, and was over.
    incidents: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Since when the program can know an event, or its account, as it is: written, moved or adopted;
    #: connected or lost.
    since: dict[tuple[str, str] | str, datetime] = field(default_factory=dict)
    #: Events that began without the link that the last resort could have given them.
    missed: list[str] = field(default_factory=list)
    wrongs: list[str] = field(default_factory=list)
    _read: bytes = b"-"
    _trackings: int = 0
    _writes: int = 0
    _answered: set[tuple[str, str, str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.simulation.mail_server.watch = self._check_delivery

    # Input.

    def tracked(self, sub: str, event_id: str) -> None:
        self._read_news()
        self._trackings += 1
        self.watched[sub, event_id] = Watched(self._trackings)
        self.changed((sub, event_id))

    def changed(self, what: tuple[str, str] | str, late: timedelta = timedelta(0)) -> None:
        """An event, or all of an account, is from now on as it is, and the program knows it so `late`."""
        self.since[what] = self.simulation.clock.now() + late

    def untracked(self, sub: str, event_id: str) -> None:
        self._read_news()
        self.watched.pop((sub, event_id), None)

    def chosen(self, sub: str) -> None:
        """A person chose a profile: what cannot be set is told again."""
        self._read_news()
        for (owner, _), watched in self.watched.items():
            if owner == sub:
                watched.reported.clear()

    def forgotten(self, sub: str) -> None:
        """The program was asked to forget the account: it may do everything again."""
        self._read_news()
        for key in [key for key in self.watched if key[0] == sub]:
            del self.watched[key]
        for owner, profile_id, _ in (*self.composed, *self.requested):
            if owner == sub:
                self.episodes[sub, profile_id] += 1
        self.standing.pop(sub, None)
        self.lives[sub] += 1

    # Output.

    def check(self) -> None:
        """Read everything new; raise AssertionError for a violation."""
        self._read_news()
        self._check_outbox()
        self._check_standing()
        self._check_gauges()
        self._check_lists()
        crashes = [error for error in self.simulation.errors if error["event"] == "look.crashed"]
        wrongs = [*self.wrongs, *self.simulation.cronofy.wrongs, *crashes]
        assert not wrongs, wrongs

    def _read_news(self) -> None:
        self._check_writes()
        self._check_outcomes()

    def _check_writes(self) -> None:
        """At most one answered Update Event per event and profile."""
        written = self.simulation.cronofy.written
        for write in written[self._writes :]:
            watched = self.watched.get((write.sub, write.event_id))
            if watched is None:
                self.wrongs.append(f"{write.sub}/{write.event_id} was written, which is not tracked")
                continue
            name = (write.sub, write.event_id, write.profile_id, watched.number)
            if name in self._answered:
                self.wrongs.append(f"{name} was written again after it had been accepted")
            if write.answered:
                self._answered.add(name)
        self._writes = len(written)

    def _check_outcomes(self) -> None:
        ledger = self.simulation.services.ledger
        start = "-" if self._read == b"-" else f"({self._read.decode()}"
        entries = cast("list[Any]", ledger.redis.xrange(f"{ledger.prefix}:outcomes", min=start))
        for entry_id, fields in entries:
            self._read = entry_id
            outcome = json.loads(fields[b"outcome"])
            if outcome["id"] in self.ids:
                self.wrongs.append(f"an outcome came twice: {outcome}")
            self.ids.add(outcome["id"])
            self.outcomes[outcome["type"]] += 1
            complaint = self._complaint(outcome)
            if complaint:
                self.wrongs.append(f"{complaint}: {outcome}")

    def _complaint(self, outcome: dict[str, Any]) -> str | None:
        """What is wrong with an outcome, if anything."""
        kind, sub = outcome["type"], outcome["sub"]
        if kind in ("incident_opened", "incident_closed"):
            # Each is told once, and is over once, after it was told.
            told, name = self.incidents, outcome["detail"]["incident"]
            told[kind, name] += 1
            first = kind == "incident_opened" or told["incident_opened", name]
            return None if told[kind, name] == 1 and first else f"{kind} out of turn"
        if kind in ("account_lost", "account_connected"):
            before = self.standing.get(sub)
            self.standing[sub] = kind
            self.changed(sub)
            return f"{kind} although nothing changed" if before == kind else None
        if outcome["event_id"] is None:
            return self._complaint_about_profile(outcome)
        watched = self.watched.get((sub, outcome["event_id"]))
        event = self.simulation.cronofy.event(sub, outcome["event_id"])
        if watched is None or event is None:
            return "an outcome of an event that is not tracked"
        if kind == "reopened":
            before = watched.final
            self._trackings += 1
            self.watched[sub, outcome["event_id"]] = Watched(self._trackings)
            return None if before == "closed" and not event.deleted else f"reopened after {before}"
        if kind == "acknowledged":
            # Once that is over, people are told again.
            watched.reported.clear()
            watched.answered_at = outcome["at"]
            return None
        if kind == "escalated":
            given = self.simulation.services.ledger.acknowledgement(
                sub, self.simulation.key(sub, outcome["event_id"])
            )
            if given and datetime.fromisoformat(outcome["at"]) > from_ms(given.at):
                return "told although it is acknowledged"
            if outcome["at"] < watched.answered_at:
                # By a look that began before; what it found may end the answer, and people are told again.
                return None
        if watched.final:
            return f"an outcome after {watched.final}"
        if kind in ("assigned", "closed"):
            watched.final = kind
            if outcome["cause"] == "event_in_past" and self._could_have_had_a_link(event):
                self.missed.append(f"{event.sub}/{event.event_id}, at {event.start.instant()}")
            return None if self._is_true(outcome, event) else "an outcome that is not true"
        if kind == "reassigned":
            to_profile_id = outcome["detail"]["to_profile_id"]
            again = to_profile_id in watched.reassigned
            watched.reassigned.append(to_profile_id)
            watched.reported.clear()
            return "reassigned twice" if again else None
        if kind == "fallback":
            return self._complaint_about_last_resort(watched, outcome["detail"])
        mark = (kind, outcome["cause"], _gist(outcome["detail"].get("reason", "")))
        again = mark in watched.reported
        watched.reported.add(mark)
        return "reported twice" if again else None

    def _could_have_had_a_link(self, event: Event) -> bool:
        """Whether nothing but the program kept the company's own room from an event that began without."""
        sub, event_id = event.sub, event.event_id or ""
        policy, ledger = self.simulation.services.looker.policy, self.simulation.services.ledger
        stored = ledger.find(sub, self.simulation.key(sub, event_id))
        if Rung.EXPLICIT not in policy.fallback or (stored and stored.event.adopted):
            return False
        since = max(self.since[sub, event_id], self.since[sub])
        in_time = since <= event.start.instant() - policy.fallback_before
        return in_time and self.standing[sub] == "account_connected"

    def _complaint_about_last_resort(self, watched: Watched, detail: dict[str, Any]) -> str | None:
        names = {detail["to_profile_id"], detail["rung"]}
        again = names & set(watched.reassigned)
        watched.reassigned += names
        watched.reported.clear()
        if again or detail["mail_id"] in self.letters:
            return "the last resort twice"
        self.letters.add(detail["mail_id"])
        return None if ("join_url" in detail) is (detail["rung"] == "explicit") else "the link is not told"

    def _complaint_about_profile(self, outcome: dict[str, Any]) -> str | None:
        kind, sub = outcome["type"], outcome["sub"]
        profile_id = outcome["detail"].get("profile_id")
        if profile_id is None:
            return None  # an email that was refused for good
        name = (sub, profile_id, self.episodes[sub, profile_id])
        if kind == "relink_requested":
            self.requested[name] += 1
            return "asked for twice" if self.requested[name] > 1 else None
        if kind == "relinked":
            for (owner, _), watched in self.watched.items():
                if owner == sub:
                    watched.reported.clear()
            return None if self.simulation.cronofy.works(sub, profile_id) else "not connected again"
        return None

    def _is_true(self, outcome: dict[str, Any], event: Event) -> bool:
        if outcome["type"] == "assigned":
            return outcome["detail"]["join_url"] == join_url(event) and not event.deleted
        if outcome["cause"] == "event_gone":
            return event.deleted or event.cancelled
        past = event.start.instant() <= self.simulation.clock.now()
        return outcome["cause"] == "event_in_past" and past and not join_url(event) and not event.deleted

    def _check_outbox(self) -> None:
        """A relink email is composed only for a disconnected profile, and not before it is due."""
        ledger = self.simulation.services.ledger
        for mail_id in cast("list[bytes]", ledger.redis.zrange(f"{ledger.prefix}:outbox", 0, -1)):
            name = mail_id.decode()
            if name in self.mails:
                continue
            kept = ledger.redis.hmget(ledger.keys.mail(name), "message", "sub")
            sealed, sub = cast("list[bytes]", kept)
            message = read_back(ledger.vault.open(sealed, *place_of_mail(name, sub.decode())))
            about = self.mails[name] = sent_about(message)
            if about is not None:
                self._composed(about, message["Date"].datetime)

    def _composed(self, about: tuple[str, str], at: datetime) -> None:
        sub, profile_id = about
        profile = self.simulation.cronofy.profile(sub, profile_id)
        if profile is None or profile.connected:
            self.wrongs.append(f"an email was composed about {about}, which is not disconnected")
        episode = self.episodes[about]
        before = self.composed.setdefault((sub, profile_id, episode), [])
        if len(before) > len(REMINDERS):
            self.wrongs.append(f"{len(before) + 1} emails about {about}")
        elif before and at - before[0] < self._shortest(episode, len(before)):
            self.wrongs.append(f"an email about {about} came {at - before[0]} after the first")
        before.append(at)

    def _shortest(self, episode: int, number: int) -> timedelta:
        """The earliest time after the first email at which the reminder with that number may come.

        A profile that was connected and lost again between two looks is, to the program, disconnected all
        along: then what is the first email here was a reminder there.
        """
        since = REMINDERS[number - 1]
        if episode:
            steps = [timedelta(0), *REMINDERS]
            since = min(later - earlier for earlier, later in zip(steps, steps[number:], strict=False))
        # An email's date has whole seconds.
        return since - timedelta(seconds=1)

    def _check_delivery(self, message: EmailMessage, sub: str) -> None:
        """No email is sent once what it asks for is there, and no user gets many."""
        kind, mail_id = asks_to_connect(message), message["Message-ID"].strip("<>").partition("@")[0]
        if kind is None:
            return
        account = self.simulation.services.ledger.account(sub)
        got = self.got.setdefault((sub, self.lives[sub]), [])
        got.append(message["Date"].datetime)
        # An email's date has whole seconds.
        lately = [at for at in got if got[-1] - at < timedelta(days=1) - timedelta(seconds=1)]
        if len(lately) > MOST_EMAILS:
            self.wrongs.append(f"{sub} got {len(lately)} emails in a day")
        asked = {each for episode in account.connects.values() for each in episode.mail_ids}
        if kind == "connect" and mail_id not in asked:
            self.wrongs.append(f"a connect email to {sub} left after its episode was over")
        if kind == "reconnect" and not account.lost:
            self.wrongs.append(f"{sub} was asked to connect an account that is not lost")
        about = sent_about(message)
        if about is None:
            return
        _, profile_id = about
        episode = self.simulation.services.ledger.account(sub).memo.episodes.get(profile_id)
        if episode is None or mail_id not in episode.mail_ids:
            self.wrongs.append(f"an email about {about} left after its episode was over")

    def _check_standing(self) -> None:
        """Every pending event's account is in exactly one set, and will be looked at."""
        ledger = self.simulation.services.ledger
        places = {name: self._scores(name) for name in ("waiting", "ready:us", "leased")}
        for sub in self.simulation.cronofy.subs():
            account, pending = ledger.account(sub), ledger.pending(sub)
            found = [name for name, scores in places.items() if sub in scores]
            wanted = {1 if pending and not account.lost else 0}
            if account.profiles_due is not None and not account.lost:
                # UserInfo is to be asked, which needs no event. If a token lapses first, nobody waits for it.
                wanted = wanted | {1} if account.token else {1}
            if len(found) not in wanted and found != ["leased"]:
                self.wrongs.append(f"{sub} with {len(pending)} events is in {found or 'no place'}")
            looks = [stored.event.next_look for stored in pending if stored.event.next_look is not None]
            if not account.lost and len(looks) < len(pending):
                self.wrongs.append(f"an event of {sub} is never looked at again")
            if account.profiles_due is not None and not (looks and account.token):
                looks.append(account.profiles_due)
            if found == ["waiting"] and places["waiting"][sub] > min(looks):
                self.wrongs.append(f"{sub} waits for longer than its next look")
            tracked = {(s, e) for (s, e), w in self.watched.items() if s == sub and w.final is None}
            # A closed one that somebody asked about is held until it was read again.
            closed = {key for key, w in self.watched.items() if w.final == "closed"}
            held = {(sub, stored.event.key.event_id) for stored in pending} - closed
            if held != tracked:
                self.wrongs.append(f"{sub} has {held} pending, not {tracked}")

    def _check_gauges(self) -> None:
        ledger = self.simulation.services.ledger
        counted: Counter[str] = Counter()
        for sub in self.simulation.cronofy.subs():
            for value in cast("list[bytes]", ledger.redis.hvals(f"{ledger.prefix}:events:{sub}")):
                counted["events:pending"] += 1
                counted[f"cause:{CAUSES.index(unpack_event(value).event.cause)}"] += 1
        gauges = {
            name: value
            for name, value in ledger.counters().items()
            if value and (name == "events:pending" or name.startswith("cause:"))
        }
        if gauges != counted:
            self.wrongs.append(f"the gauges are {gauges}, not {dict(counted)}")

    def _check_lists(self) -> None:
        """Each list has the pending events that belong to it, by their starts, and nothing else."""
        ledger = self.simulation.services.ledger
        redis: Any = ledger.redis
        wanted: dict[str, dict[bytes, float]] = {}
        for sub in self.simulation.cronofy.subs():
            for stored in ledger.pending(sub):
                start, place = stored.event.starts_at, b"%d:%b" % (len(sub.encode()), sub.encode())
                for name in names_of(stored.event, ledger.acknowledgement(sub, stored.event.key)):
                    entries = wanted.setdefault(name, {})
                    entries[place + stored.event.key.field] = start.timestamp() * 1000 if start else 9e15
        head = ledger.keys.list("")
        found = {
            key.decode().removeprefix(head): dict(redis.zrange(key, 0, -1, withscores=True))
            for key in redis.keys(f"{head}*")
        }
        incidents = {name: found.pop(name) for name in [*found] if name.startswith("incident:")}
        held = {name: found.pop(name) for name in [*found] if name.startswith("held:")}
        came_back = found.pop("came_back", {})
        if not came_back.items() <= wanted.get("escalated", {}).items():
            self.wrongs.append(f"{came_back} came back, of {wanted.get('escalated')} that are escalated")
        if found != wanted:
            self.wrongs.append(f"the lists are {found}, not {wanted}")
        self._check_held(held)
        self._check_incidents(incidents)

    def _check_held(self, lists: dict[str, dict[bytes, float]]) -> None:
        """What is held waits for just that, and for nothing that is not going on, or only just over."""
        ledger = self.simulation.services.ledger
        known = {name.decode() for name in cast("Any", ledger.redis.hkeys(ledger.keys.outages))}
        causes = self._waiting_together()
        for name, entries in lists.items():
            group = name.removeprefix("held:")
            cause, _, _ = group.partition(":")
            if group not in known or any(causes.get(place) != cause for place in entries):
                self.wrongs.append(f"{name} has {entries}, of {causes}; {known} go on")

    def _waiting_together(self) -> dict[bytes, str]:
        """The pending events that may be held, and their causes."""
        ledger = self.simulation.services.ledger
        return {
            b"%d:%b" % (len(sub.encode()), sub.encode()) + stored.event.key.field: stored.event.cause.value
            for sub in self.simulation.cronofy.subs()
            for stored in ledger.pending(sub)
            if stored.event.cause in HELD
        }

    def _check_incidents(self, lists: dict[str, dict[bytes, float]]) -> None:
        """Each event that needs a person is in one incident, of its group; besides these what is held."""
        ledger = self.simulation.services.ledger
        groups = {
            incident_list(each.incident_id): each.group.partition("@")[0] for each in ledger.incidents.open()
        }
        waiting = self._waiting_together()
        found = sorted((groups.get(name), place) for name, entries in lists.items() for place in entries)
        wanted = sorted(
            (stored.event.group, b"%d:%b" % (len(sub.encode()), sub.encode()) + stored.event.key.field)
            for sub in self.simulation.cronofy.subs()
            for stored in ledger.pending(sub)
            if stored.event.group and not ledger.acknowledgement(sub, stored.event.key)
        )
        found = [(group, place) for group, place in found if place not in waiting or (group, place) in wanted]
        if found != wanted:
            self.wrongs.append(f"the incidents have {found}, not {wanted}")

    def _scores(self, name: str) -> dict[str, float]:
        ledger = self.simulation.services.ledger
        found = cast("list[Any]", ledger.redis.zrange(f"{ledger.prefix}:{name}", 0, -1, withscores=True))
        return {sub.decode(): score for sub, score in found}

    def unsettled(self) -> list[tuple[str, str]]:
        return [key for key, watched in self.watched.items() if watched.final is None]


def _gist(reason: str) -> str:
    """A reason for a person, without its figures."""
    if "looks in a row failed" in reason:
        return "unread"
    if reason.startswith("Setting the "):
        return reason.partition(" failed")[0]
    return "asked before" if reason.startswith("The user was asked") else "cause"
