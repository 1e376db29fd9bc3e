"""A dozen accounts with fifty events: each cause and each remedy, alone and together."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.faults.stage import OPERATOR, SWEEP, Stage
from tests.integration.world import World
from tests.waiting import wait_until
from worker.ledger.packing import CAUSES
from worker.ledger.records import TrackedEvent

#: A write unanswered by then never will be, nor was it carried out: twice what a slow one takes.
LATEST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Role:
    """An account, its number of events, and how each must end."""

    name: str
    events: int
    #: The outcome types of each event, in order.
    outcomes: tuple[str, ...]
    #: Settled or pending, and the cause.
    ends: tuple[str, str | None]
    profiles: int = 2
    #: Outcomes of the account as a whole.
    account_outcomes: tuple[str, ...] = ()
    #: Number of emails to the account's user.
    mails: int = 0
    start: Mapping[str, Any] = field(default_factory=dict)


#: Assigned events keep the cause of the last look that found no link.
ROLES = (
    Role("made", 6, ("assigned",), ("settled", None)),
    Role("stuck", 4, (), ("events", "generating")),
    Role("expired", 3, ("assigned",), ("settled", None)),
    Role("removed", 1, ("reassigned", "assigned"), ("settled", None)),
    Role("removed-many", 8, ("reassigned", "assigned"), ("settled", None)),
    Role("removed-more", 5, ("reassigned", "assigned"), ("settled", None)),
    Role("unclear", 3, ("escalated",), ("events", "profile_removed"), profiles=3),
    Role("lapsed", 5, ("assigned",), ("settled", None), 2, ("relink_requested", "relinked"), mails=1),
    Role("lapsed-still", 4, (), ("events", "credentials_expired"), 2, ("relink_requested",), mails=1),
    Role("past", 4, ("closed",), ("settled", "event_in_past"), start={"hours": -1}),
    Role("gone", 3, ("closed",), ("settled", "event_gone")),
    Role("revoked", 4, (), ("events", "account_unauthorized"), account_outcomes=("account_lost",)),
)
#: For which of these a person is needed: the unclear profiles, the revoked account.
REASONS = 2


class MixedAccounts:
    """All of them at one sandbox, looked at by one process."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._first = stage.begin()  # also an account without events
        self.control = self._first.control
        self.control.set_settings(generation_seconds=0, retry_seconds=0.05)
        self.worlds = {
            role.name: stage.another(role.name, role.profiles, email=f"{role.name}@example.org")
            for role in ROLES
        }
        for role in ROLES:
            self._play(role, self.worlds[role.name])

    def _play(self, role: Role, world: World) -> None:
        """Write the account's events, and apply what happens to them."""
        if role.name.startswith("lapsed"):
            self.control.disconnect_profile(world.sub, world.profiles[0])
        event_ids = [f"{role.name}-{number}" for number in range(role.events)]
        removed = role.name.startswith(("removed", "unclear"))
        for event_id in event_ids:
            # They stay pending until their profile is gone, or for good.
            self.control.set_stuck(world.calendar_id, event_id, removed or role.name in ("stuck", "revoked"))
            world.track(event_id, **role.start)
        if removed:
            self.control.remove_profile(world.sub, world.profiles[0])
            for event_id in event_ids:
                self.control.set_stuck(world.calendar_id, event_id, on=False)
        if role.name == "gone":
            for event_id in event_ids:
                self.control.delete_event(world.calendar_id, event_id)
        if role.name == "revoked":
            self.control.revoke_refresh_token(world.sub)
        if role.name in ("revoked", "expired"):
            self.control.expire_access_token(world.sub)

    @property
    def events(self) -> int:
        return sum(role.events for role in ROLES)

    def relink(self) -> None:
        self.control.reconnect_profile(self.worlds["lapsed"].sub, "lapsed_0")

    def round(self) -> None:
        """Let time pass, then let everything run. By then even a slow write shows."""
        wait_until(self._is_written, 30, 0.05, what="Cronofy to carry out the writes")
        wait_until(self._has_made, 30, what="the conferences of the written events")
        for world in self.worlds.values():
            self.stage.let_time_pass(world.sub)
        self.stage.work(SWEEP)

    def _is_written(self) -> bool:
        """Whether no write is in progress any more: a slow one takes effect after our timeout."""
        sent = [r for r in self.control.requests("/v1/") if r["method"] == "POST" and not r["status"]]
        return all(time.time() - request["ts"] > LATEST_SECONDS for request in sent)

    def _has_made(self) -> bool:
        written = [(write["calendar_id"], write["event_id"]) for write in self._first.writes()]
        return all("join_url" in self.control.event(*ids).get("conferencing", {}) for ids in written)

    def requested(self) -> bool:
        """Whether the users of both disconnected profiles were asked."""
        return all(
            ("relink_requested", None) in self._outcomes(self.worlds[name])
            for name in ("lapsed", "lapsed-still")
        )

    def lacking(self) -> list[str]:
        """Differences from the expected end, each a sentence."""
        found = []
        for role in ROLES:
            world = self.worlds[role.name]
            outcomes: Counter[tuple[str, str | None]] = Counter(self._outcomes(world))
            expected: Counter[tuple[str, str | None]] = Counter()
            expected.update((kind, None) for kind in role.account_outcomes)
            for number in range(role.events):
                expected.update((kind, f"{role.name}-{number}") for kind in role.outcomes)
                ended = self._ended(world, f"{role.name}-{number}")
                if ended != role.ends:
                    found.append(f"{role.name}-{number} ended as {ended}, not {role.ends}")
            if outcomes != expected:
                found.append(
                    f"{role.name}: outcomes {outcomes - expected} too often, {expected - outcomes} not at all"
                )
            mails = [m for m in self.control.mail() if m["to"] == [world.account["email"]]]
            if len(mails) != role.mails:
                found.append(f"{role.name}: {len(mails)} emails")
        told = sorted(mail["subject"] for mail in self.control.mail() if mail["to"] == [OPERATOR])
        if len(told) != REASONS:
            found.append(f"the operator was told: {told}")
        writes = Counter(write["event_id"] for write in self._first.writes())
        allowed = {
            f"{role.name}-{n}" for role in ROLES for n in range(role.events) if "reassigned" in role.outcomes
        }
        if set(writes) - allowed:
            found.append(f"written: {set(writes) - allowed}")
        return found

    def doubled_writes(self) -> int:
        """How many Update Events were sent beyond the first per event."""
        writes = Counter(write["event_id"] for write in self._first.writes())
        return writes.total() - len(writes)

    def _outcomes(self, world: World) -> list[tuple[str, str | None]]:
        return [(o["type"], o["event_id"]) for o in world.outcomes() if o["sub"] == world.sub]

    def _ended(self, world: World, event_id: str) -> tuple[str, str | None]:
        ledger, key = self.stage.services.ledger, world.key(event_id)
        pending = ledger.find_pending(world.sub, key)
        stored = pending or ledger.find(world.sub, key)
        assert stored is not None, f"{event_id} is not in the ledger"
        event: TrackedEvent = stored.event
        assert event.cause in CAUSES
        return ("events" if pending else "settled", event.cause.value if event.cause else None)
