"""What happens in a simulation: what callers and people do, recorded for the invariants."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sandbox.world.events import Event
from tests.faults.cronofy import HALF_AN_HOUR, SECRET, Cronofy, Death, body_of, calendar_of
from tests.faults.invariants import Invariants
from tests.faults.simulation import Message, Simulation
from worker.cronofy.signature import signature_of
from worker.intake import accept
from worker.intake.acknowledge import acknowledge_incident
from worker.intake.payloads import (
    AccountOnly,
    AcknowledgeEvent,
    ConnectAccount,
    OneEvent,
    ReceiveNotification,
    TrackEvent,
)
from worker.intake.push_notifications import PROFILE_DISCONNECTED
from worker.ledger.answers import Answers
from worker.ledger.packing import pack_channel
from worker.ledger.records import NotificationChannel, to_ms
from worker.run import adoption, choices, connections, deciding, looks

#: Everybody has these: two of the same provider, and one of another.
PROFILES = {"z1": "zoom", "z2": "zoom", "t1": "teams"}
DAY = timedelta(days=1)


@dataclass(slots=True)
class Callers:
    """Everybody outside the program. What is impossible right now is skipped."""

    simulation: Simulation
    invariants: Invariants = field(init=False)
    #: How many profiles users connected by our link.
    _own: int = 0

    def __post_init__(self) -> None:
        self.invariants = Invariants(self.simulation)

    @property
    def cronofy(self) -> Cronofy:
        return self.simulation.cronofy

    # Accounts.

    def join(self, sub: str) -> None:
        self.cronofy.join(sub, PROFILES.items())

    def connect(self, sub: str) -> None:
        """The person authorises us, again if necessary, and the program gets the tokens."""
        if self.cronofy.account(sub).refresh_token is None:
            self.cronofy.world.registry.authorize(sub)
        self.hand_over(sub)

    def hand_over(self, sub: str) -> None:
        """The program gets the tokens as they are, valid or not."""
        account = self.cronofy.account(sub)
        token = account.refresh_token or "revoked"
        payload = ConnectAccount(sub=sub, refresh_token=token, email=account.email)
        accept.connect_account(self.simulation.services, payload)
        self.invariants.changed(sub)

    def lend(self, sub: str) -> None:
        """The program gets an access token alone, which is good for an hour."""
        if self.cronofy.account(sub).refresh_token is None:
            self.cronofy.world.registry.authorize(sub)
        token = self.cronofy.account(sub).access_token
        payload = ConnectAccount(sub=sub, access_token=token, expires_in=3600)
        accept.connect_account(self.simulation.services, payload)
        self.invariants.changed(sub)

    def revoke(self, sub: str) -> None:
        self.cronofy.world.registry.revoke_refresh_token(sub)
        self.expire(sub)

    def expire(self, sub: str) -> None:
        self.cronofy.world.registry.expire_access_tokens(sub)

    def forget(self, sub: str) -> None:
        accept.forget_account(self.simulation.services, AccountOnly(sub=sub))
        self.invariants.forgotten(sub)

    # Events.

    def write_and_track(self, sub: str, event_id: str, away: timedelta, profile_id: str) -> None:
        body = body_of(event_id, self._in(away), profile_id)
        self.cronofy.world.upsert(self.cronofy.account(sub), calendar_of(sub), body, via="sandbox")
        self.track(sub, event_id)

    def adopt(self, sub: str, event_id: str, away: timedelta, profile_id: str) -> None:
        """An event is written that nobody tracks, and an operator has such ones taken up.

        They may die doing it; while somebody holds the account, they would wait, so they do not begin.
        """
        ledger, key = self.simulation.services.ledger, self.simulation.key(sub, event_id)
        if ledger.redis.zscore(ledger.keys.leased, sub) is not None or ledger.find(sub, key):
            return
        body = body_of(event_id, self._in(away), profile_id)
        self.cronofy.world.upsert(self.cronofy.account(sub), calendar_of(sub), body, via="sandbox")
        with suppress(Death, adoption.Stopped):
            for _ in adoption.adopt(
                self.simulation.services,
                [sub],
                dry_run=False,
                resumable=False,
                tell=lambda *_: None,
                patience=0.0,
            ):
                pass
        watched = self.invariants.watched
        for stored in ledger.pending(sub):
            if stored.event.adopted and (sub, stored.event.key.event_id) not in watched:
                self.invariants.tracked(sub, stored.event.key.event_id)

    def track(self, sub: str, event_id: str) -> None:
        event = self.cronofy.event(sub, event_id)
        if event is None or event.profile_id is None:
            return
        body = body_of(event_id, event.start.instant(), event.profile_id)
        provider = PROFILES.get(event.profile_id)
        tracked = TrackEvent(sub=sub, calendar_id=calendar_of(sub), event=body, provider_name=provider)
        accept.track(self.simulation.services, tracked)
        self.invariants.tracked(sub, event_id)

    def acknowledge(self, sub: str, event_id: str, until: timedelta = HALF_AN_HOUR) -> None:
        """Somebody answers for an event, for a while."""
        given = AcknowledgeEvent(
            sub=sub, calendar_id=calendar_of(sub), event_id=event_id, until=str(until.total_seconds())
        )
        accept.acknowledge(self.simulation.services, given)

    def untrack(self, sub: str, event_id: str) -> None:
        one = OneEvent(sub=sub, calendar_id=calendar_of(sub), event_id=event_id)
        accept.untrack(self.simulation.services, one)
        self.invariants.untracked(sub, event_id)

    def move(self, sub: str, event_id: str, away: timedelta, *, told: bool = False) -> None:
        """Somebody moves an event; the account's channel tells of it, or the next look finds it so."""
        if self.cronofy.event(sub, event_id):
            start = self._in(away)
            end = (start + HALF_AN_HOUR).isoformat()
            self.cronofy.world.move(calendar_of(sub), event_id, start=start.isoformat(), end=end)
            late = timedelta(0) if told else self.simulation.services.looker.policy.recheck_max
            self.invariants.changed((sub, event_id), late)
            if told:
                self._receive(json.dumps({"notification": {"type": "change"}}), sub)

    def bring_back(self, sub: str, event_id: str, away: timedelta) -> None:
        """A closed event is moved to the future, and somebody asks about it."""
        self.move(sub, event_id, away)
        self.reconcile(sub, event_id)
        # What is told now is true now.
        self.invariants.check()

    def delete(self, sub: str, event_id: str) -> None:
        if self.cronofy.event(sub, event_id):
            self.cronofy.world.delete_by_owner(calendar_of(sub), event_id)

    def stick(self, sub: str, event_id: str) -> None:
        """This event gets no conference, or at last it may."""
        event = self.cronofy.event(sub, event_id)
        if event:
            self.cronofy.stick(event, not self.cronofy.is_stuck(event))

    def notify(self, sub: str, event_id: str, interaction: str, subtype: str | None) -> None:
        """Cronofy's notification arrives: true or not, on time or late, once or again."""
        entry = {"type": interaction} | ({"subtype": subtype} if subtype else {})
        event = {"event_id": event_id, "calendar_id": calendar_of(sub)}
        body = json.dumps({"notification": {"interactions": [entry]}, "event": event})
        self._receive(body, sub)

    def ask_for_erasure(self, sub: str) -> None:
        """A user wants to be erased at Cronofy, which tells us over the account's channel."""
        ledger, address = self.simulation.services.ledger, "https://hooks.example.org"
        # The simulation has no webhook, so nobody opened it.
        ledger.redis.hset(
            ledger.keys.account(sub), "channel", pack_channel(NotificationChannel(f"chn-{sub}", address))
        )
        about = {"channel_id": f"chn-{sub}", "callback_url": address}
        self._receive(json.dumps({"notification": {"type": "gdpr_requested"}, "channel": about}), sub)

    def _receive(self, body: str, sub: str) -> None:
        notification = ReceiveNotification(body=body, signature=signature_of(body.encode(), SECRET), sub=sub)
        due = accept.receive_notification(self.simulation.services, notification)
        self.simulation.bag += [Message("look_at_account", name) for name, _ in due or ()]

    def outage(self, sub: str, event_id: str) -> None:
        """The conferencing service fails: no conference comes, and Cronofy notifies that."""
        event = self.cronofy.event(sub, event_id)
        if event:
            self.cronofy.stick(event, stuck=True)
            self.notify(sub, event_id, "conferencing_failing", None)

    def reconcile(self, sub: str, event_id: str) -> None:
        """Somebody asks about an event; the worker may die doing it."""
        try:
            looks.reconcile_event(self.simulation.services, sub, self.simulation.key(sub, event_id))
        except Death:
            return

    def choose(self, sub: str, profile_id: str, to: str) -> None:
        """A person decides what takes the place of a profile; the worker may die doing it."""
        with suppress(Death):
            choices.choose_profile(self.simulation.services, choices.WantedChoice(sub, profile_id, to))
        self.invariants.chosen(sub)

    def decide(self, to: str | None) -> None:
        """A person decides for an incident's removed profiles, or answers for all of its events."""
        services, ledger = self.simulation.services, self.simulation.services.ledger
        for incident in ledger.incidents.open()[:1]:
            if to is None:
                acknowledge_incident(ledger, incident.incident_id, "", "PT4H", "somebody", HALF_AN_HOUR)
                return
            plan = deciding.plan_for(ledger, incident, to, {})
            with suppress(Death):
                deciding.carry_out(services, incident, plan, "somebody")
            for removed, _ in plan.chosen:
                self.invariants.chosen(removed.sub)

    # Profiles.

    def lose(self, sub: str, profile_id: str) -> None:
        """A profile's credentials expire."""
        self.cronofy.advance()
        profile = self.cronofy.profile(sub, profile_id)
        if profile:
            profile.connected = False

    def tell_of_a_lapse(self, sub: str) -> None:
        """Cronofy says that it could not use a profile, true or not."""
        self._receive(json.dumps({"notification": {"type": PROFILE_DISCONNECTED}}), sub)

    def follow(self, sub: str) -> None:
        """The user presses the button of our page, and comes back from Cronofy with a profile of any name."""
        services, ledger = self.simulation.services, self.simulation.services.ledger
        if "connect:zoom" not in ledger.account(sub).connects:
            return
        answers = Answers(ledger.redis, ledger.keys, ledger.vault)
        with suppress(Death):
            until = to_ms(self.simulation.clock.now() + timedelta(seconds=12))
            connections.authorize_connection(services, sub, "zoom", "question", until)
            answer = answers.take("question", timedelta(seconds=0.01))
            if answer and "address" in answer:
                self._own += 1
                profile_id = f"own{self._own}"
                self.cronofy.connect(sub, profile_id, "zoom", f"login{self._own}@zoom.example")
                connections.note_connection(services, sub, "zoom", profile_id)

    def connect_instead(self, sub: str) -> None:
        """All profiles of a service are removed, and the user is asked to connect one."""
        for profile in list(self.cronofy.account(sub).conferencing_profiles):
            if profile.provider_name == "zoom":
                self.remove(sub, profile.profile_id)
        self.simulation.work(timedelta(minutes=30))
        # What was told is true so far.
        self.invariants.check()
        self.follow(sub)

    def link(self, sub: str, profile_id: str) -> None:
        """The user connects a profile again, or adds one that was removed."""
        profile = self.cronofy.profile(sub, profile_id)
        if profile is None:
            self.cronofy.connect(sub, profile_id, PROFILES.get(profile_id, "zoom"))
        elif profile.connected:
            return
        else:
            profile.connected = True
        self.invariants.episodes[sub, profile_id] += 1

    def remove(self, sub: str, profile_id: str) -> None:
        self.cronofy.advance()
        if self.cronofy.profile(sub, profile_id):
            self.cronofy.world.registry.remove_profile(sub, profile_id)

    # The end.

    def heal(self) -> None:
        """Every fault is removed, and everybody is connected."""
        self.cronofy.disturbances.clear()
        self.simulation.mail_server.refusals.clear()
        self.simulation.services.ledger.set_paused(False)
        for sub in self.cronofy.subs():
            for event in self.cronofy.events(sub):
                self.cronofy.stick(event, stuck=False)
            for profile in self.cronofy.account(sub).conferencing_profiles:
                self.link(sub, profile.profile_id)
            self.connect(sub)

    def converge(self) -> None:
        """Remove every fault and let time pass: everything ends soon, what cannot be fixed when it starts."""
        self.heal()
        self.simulation.work(2 * DAY)
        self.invariants.check()
        pending = self.invariants.unsettled()
        hopeless = [key for key in pending if not self._profile_exists(self._event_of(key))]
        assert pending == hopeless, "an event is pending although all is well"
        last = max((self._event_of(key).start.instant() for key in hopeless), default=None)
        if last:
            self.simulation.work(last - self.simulation.clock.now() + DAY)
            self.invariants.check()
        assert self.invariants.unsettled() == []

    def _profile_exists(self, event: Event) -> bool:
        """Whether its profile still exists; if not, the event may wait for a person's choice."""
        return self.cronofy.profile(event.sub, event.profile_id or "") is not None

    def _event_of(self, key: tuple[str, str]) -> Event:
        event = self.cronofy.event(*key)
        assert event is not None
        return event

    def _in(self, away: timedelta) -> datetime:
        self.cronofy.advance()
        return (self.simulation.clock.now() + away).replace(microsecond=0)
