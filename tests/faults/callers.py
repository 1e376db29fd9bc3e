"""What happens in a simulation: what callers and people do, entered into the books as it is done."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta

from tests.faults.cronofy_model import Death, Event, Profile
from tests.faults.simulation import SECRET, Message, Simulation
from tests.faults.truths import Truths
from worker.cronofy.signature import signature_of
from worker.intake import accept
from worker.intake.payloads import AccountOnly, ConnectAccount, OneEvent, ReceiveNotification, TrackEvent
from worker.run import looks

#: Everybody has these: a second of the same provider, and one of another.
PROFILES = (("z1", "zoom"), ("z2", "zoom"), ("t1", "teams"))
DAY = timedelta(days=1)


@dataclass(slots=True)
class Callers:
    """Everybody outside of the program. What cannot be done now is not done."""

    simulation: Simulation
    truths: Truths = field(init=False)

    def __post_init__(self) -> None:
        """Open the books."""
        self.truths = Truths(self.simulation)

    # Accounts.

    def join(self, sub: str) -> None:
        """Somebody comes to Cronofy."""
        self.simulation.cronofy.join(sub, PROFILES)

    def connect(self, sub: str) -> None:
        """The person authorises us (anew, if need be), and the program is given the tokens."""
        person = self.simulation.cronofy.people[sub]
        if person.revoked:
            person.revoked = False
            person.grant += 1
        self.hand_over(sub)

    def hand_over(self, sub: str) -> None:
        """The program is given the tokens as they are, good or not."""
        token = self.simulation.cronofy.people[sub].refresh_token
        accept.connect_account(self.simulation.services, ConnectAccount(sub=sub, refresh_token=token))

    def revoke(self, sub: str) -> None:
        """The person takes our authorisation away."""
        person = self.simulation.cronofy.people[sub]
        person.revoked = True
        person.access_tokens.clear()

    def expire(self, sub: str) -> None:
        """The access tokens expire."""
        self.simulation.cronofy.people[sub].access_tokens.clear()

    def forget(self, sub: str) -> None:
        """The program is told to forget the account."""
        accept.forget_account(self.simulation.services, AccountOnly(sub=sub))
        self.truths.forgotten(sub)

    # Events.

    def write_and_track(self, sub: str, event_id: str, away: timedelta, profile_id: str) -> None:
        """A caller writes an event at Cronofy and has it watched."""
        self.simulation.cronofy.generate()
        start = (self.simulation.clock.now() + away).replace(microsecond=0)
        self.simulation.cronofy.put(sub, event_id, start, profile_id)
        self.track(sub, event_id)

    def track(self, sub: str, event_id: str) -> None:
        """A caller has an event watched, for the first time or again."""
        person = self.simulation.cronofy.people[sub]
        if event_id not in person.events:
            return
        body = self.simulation.cronofy.body(sub, event_id)
        provider = person.profiles[body["conferencing"]["profile_id"]].provider
        tracked = TrackEvent(sub=sub, calendar_id=person.calendar_id, event=body, provider_name=provider)
        accept.track(self.simulation.services, tracked)
        self.truths.tracked(sub, event_id)

    def untrack(self, sub: str, event_id: str) -> None:
        """A caller has an event watched no more."""
        calendar_id = self.simulation.cronofy.people[sub].calendar_id
        one = OneEvent(sub=sub, calendar_id=calendar_id, event_id=event_id)
        accept.untrack(self.simulation.services, one)
        self.truths.untracked(sub, event_id)

    def move(self, sub: str, event_id: str, away: timedelta) -> None:
        """A person moves an event."""
        event = self._event(sub, event_id)
        if event:
            self.simulation.cronofy.generate()
            event.start = (self.simulation.clock.now() + away).replace(microsecond=0)

    def delete(self, sub: str, event_id: str) -> None:
        """A person deletes an event."""
        event = self._event(sub, event_id)
        if event:
            event.deleted = True

    def stick(self, sub: str, event_id: str) -> None:
        """No conference comes for this event, or at last it may."""
        event = self._event(sub, event_id)
        if event:
            event.stuck = not event.stuck

    def notify(self, sub: str, event_id: str, interaction: str, subtype: str | None) -> None:
        """Cronofy's notification comes in: true or not, in time or late, once or again."""
        said = {"type": interaction} | ({"subtype": subtype} if subtype else {})
        body = json.dumps({"notification": {"interactions": [said]}, "event": {"event_id": event_id}})
        notification = ReceiveNotification(body=body, signature=signature_of(body.encode(), SECRET), sub=sub)
        due = accept.receive_notification(self.simulation.services, notification)
        self.simulation.bag += [Message("look_at_account", name) for name, _ in due or ()]

    def outage(self, sub: str, event_id: str) -> None:
        """The conferencing service fails: no conference comes, and Cronofy says so."""
        event = self._event(sub, event_id)
        if event:
            event.stuck = True
            self.notify(sub, event_id, "conferencing_failing", None)

    def reconcile(self, sub: str, event_id: str) -> None:
        """Somebody asks about an event; the worker may die over it."""
        try:
            looks.reconcile_event(self.simulation.services, sub, self.simulation.key(sub, event_id))
        except Death:
            return

    # Profiles.

    def lose(self, sub: str, profile_id: str) -> None:
        """A profile's credentials expire."""
        self.simulation.cronofy.generate()
        self._profile(sub, profile_id).connected = False

    def link(self, sub: str, profile_id: str) -> None:
        """The user connects a profile again, or adds it anew."""
        self.simulation.cronofy.link(sub, profile_id)

    def remove(self, sub: str, profile_id: str) -> None:
        """The user removes a profile."""
        self.simulation.cronofy.generate()
        self._profile(sub, profile_id).removed = True

    # The end.

    def heal(self) -> None:
        """All that was broken is well again, and everybody is connected."""
        cronofy = self.simulation.cronofy
        cronofy.disturbances.clear()
        self.simulation.letterbox.refusals.clear()
        self.simulation.services.ledger.set_paused(False)
        for person in cronofy.people.values():
            for event in person.events.values():
                event.stuck = False
            for profile in person.profiles.values():
                if not profile.removed:
                    cronofy.link(person.sub, profile.profile_id)
            self.connect(person.sub)

    def converge(self) -> None:
        """Heal the world and let time pass: all ends soon, and what cannot be helped when it starts."""
        self.heal()
        self.simulation.work(2 * DAY)
        self.truths.check()
        pending = self.truths.unsettled()
        hopeless = [key for key in pending if self._event_of(key).profile_id in self._gone(key[0])]
        assert pending == hopeless, "an event is pending although all is well"
        last = max((self._event_of(key).start for key in hopeless), default=None)
        if last:
            self.simulation.work(last - self.simulation.clock.now() + DAY)
            self.truths.check()
        assert self.truths.unsettled() == []

    def _gone(self, sub: str) -> set[str]:
        """The profiles that are removed: what asked for them may wait for a person's choice."""
        profiles = self.simulation.cronofy.people[sub].profiles.values()
        return {profile.profile_id for profile in profiles if profile.removed}

    def _event_of(self, key: tuple[str, str]) -> Event:
        sub, event_id = key
        return self.simulation.cronofy.people[sub].events[event_id]

    def _event(self, sub: str, event_id: str) -> Event | None:
        return self.simulation.cronofy.people[sub].events.get(event_id)

    def _profile(self, sub: str, profile_id: str) -> Profile:
        return self.simulation.cronofy.people[sub].profiles[profile_id]
