"""What has one reason is one incident: one email when it opens, one when it is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from tests.integration.ledgers import an_event, claim, later
from tests.integration.world import Begin, World
from worker.diagnosis.model import Cause
from worker.intake import forget
from worker.intake.acknowledge import acknowledge, withdraw
from worker.ledger.incidents import Incident
from worker.ledger.leases import Change, EventChange
from worker.ledger.ledger import Ledger
from worker.ledger.lists import Wanted
from worker.ledger.records import TrackedEvent
from worker.mail.compose import read_back
from worker.run import looks
from worker.run.incidents import IncidentSize, size_of
from worker.run.telling import tell_incidents

OPERATOR = "ops@example.org"
HOUR = 3_600_000


def subjects(world: World) -> list[str]:
    return [str(read_back(mail.message)["Subject"]) for mail in world.mails()]


def told(world: World) -> list[str]:
    return [each["type"] for each in world.outcomes() if each["type"].startswith("incident")]


def only(ledger: Ledger) -> Incident:
    [incident] = ledger.incidents.open()
    return incident


def size(ledger: Ledger, incident: Incident) -> tuple[int, int]:
    found: IncidentSize = size_of(ledger, incident)
    return found.events, found.accounts


def removed(begin: Begin, events: int = 1, **settings: Any) -> World:
    """Events of a profile that was removed, and there is no other; a look found out."""
    world = begin(profiles=1, **{"escalation_email": OPERATOR, **settings})
    for number in range(events):
        world.track(f"e{number}", hours=48 + number)
    world.control.remove_profile(world.sub, world.profiles[0])
    looks.reconcile_account(world.services, world.sub)
    return world


def untrack_all(world: World) -> None:
    for stored in world.services.ledger.pending(world.sub):
        world.services.ledger.untrack(world.sub, stored.event.key)


def escalated(event: TrackedEvent, cause: Cause = Cause.PROFILE_REMOVED) -> TrackedEvent:
    """The event after a look that told a person."""
    detail = {"profile_id": event.profile_id, "possible": ["default"]}
    last = {"cause": cause.value, "state": "pending", "detail": detail, "remedy": "escalate"}
    return replace(event, last=last, notified=(f"{cause}:",))


def look(ledger: Ledger, sub: str, **fields: Any) -> None:
    """A look that escalates all of an account's events."""
    lease = claim(ledger, sub)
    ledger.commit(lease, Change([EventChange(s, escalated(later(s, **fields))) for s in lease.events]))


def age(ledger: Ledger, incident: Incident, name: str, by: int) -> None:
    """Let the incident have opened, or been joined, that much earlier."""
    ledger.redis.hincrbyfloat(ledger.keys.incident(incident.incident_id), name, -by)


def test_many_events_of_one_profile_are_one_email_and_one_when_it_is_over(begin: Begin, many: int) -> None:
    """However many there are, the email counts them all."""
    world = removed(begin, many)
    ledger = world.services.ledger

    incident = only(ledger)
    assert (incident.group, size(ledger, incident)) == ("profile_removed:zoom", (many, 1))
    [subject] = subjects(world)
    assert subject.startswith(
        f"{many} meetings need a person: profile removed (Zoom), the soonest: Interview e0"
    )
    untrack_all(world)
    assert subjects(world) == [f"Over: profile removed (Zoom), {many} meetings"]
    assert (subjects(world), ledger.incidents.open()) == ([], [])
    assert told(world) == ["incident_opened", "incident_closed"]


def test_many_accounts_of_one_provider_are_one_email(begin: Begin, many: int) -> None:
    """They lost it for the same reason, most likely."""
    world = begin(escalation_email=OPERATOR)
    ledger = world.services.ledger
    for number in range(many):
        ledger.track(f"acc_{number}", an_event(hours=24 + number))
        look(ledger, f"acc_{number}")

    assert size(ledger, only(ledger)) == (many, many)
    [subject] = subjects(world)
    assert subject.startswith(f"{many} meetings need a person")
    assert subjects(world) == []


@pytest.mark.parametrize(
    ("opened", "joined", "incidents"),
    [
        pytest.param(59 * HOUR // 60, 59 * HOUR // 60, 1, id="within an hour"),
        pytest.param(61 * HOUR // 60, 61 * HOUR // 60, 2, id="after an hour"),
        pytest.param(23 * HOUR, HOUR // 2, 1, id="one after the other, within a day"),
        pytest.param(25 * HOUR, HOUR // 2, 2, id="one after the other, for longer than a day"),
    ],
)
def test_kin_join_within_an_hour_of_the_last_and_a_day_of_the_first(
    ledger: Ledger, opened: int, joined: int, incidents: int
) -> None:
    """Later ones are another story, and told."""
    ledger.track("a", an_event())
    look(ledger, "a")
    for name, by in (("opened", opened), ("joined", joined)):
        age(ledger, only(ledger), name, by)
    ledger.track("b", an_event())
    look(ledger, "b")

    assert len(ledger.incidents.open()) == incidents


def test_another_provider_or_cause_is_another_incident(ledger: Ledger) -> None:
    """They have another reason."""
    ledger.track("a", an_event("e1"))
    ledger.track("a", replace(an_event("e2"), provider_name="go_to"))
    look(ledger, "a")

    groups = [incident.group for incident in ledger.incidents.open()]
    assert sorted(groups) == ["profile_removed:go_to", "profile_removed:zoom"]


def test_kin_are_waited_for_unless_a_meeting_is_near(begin: Begin) -> None:
    """The email comes a digest after the incident opened, or at once if a meeting starts within two."""
    world = removed(begin, 1, escalation_digest="PT15M")
    ledger = world.services.ledger
    assert subjects(world) == []
    assert not world.services.outbox.has_due()

    age(ledger, only(ledger), "opened", 14 * 60_000)
    assert subjects(world) == []
    world.track("e1", hours=0.4, profile=world.profiles[0])
    world.look("e1")

    assert world.services.outbox.has_due()
    [subject] = subjects(world)
    assert subject.startswith("2 meetings need a person: profile removed (Zoom), the soonest: Interview e1")


def test_it_is_over_once_it_was_empty_for_a_digest(begin: Begin) -> None:
    """What joins it before goes on with it, untold; what was over before it was told needs no email."""
    world = removed(begin, 1, escalation_digest="PT15M")
    ledger = world.services.ledger
    first = only(ledger)
    untrack_all(world)
    assert (subjects(world), ledger.incidents.open()) == ([], [])

    world.track("e1")
    world.look("e1")
    second = only(ledger)
    assert second.incident_id != first.incident_id
    age(ledger, second, "opened", 16 * 60_000)
    assert len(subjects(world)) == 1
    untrack_all(world)
    assert subjects(world) == []
    world.track("e2")
    world.look("e2")
    assert (subjects(world), only(ledger).incident_id) == ([], second.incident_id)
    untrack_all(world)
    age(ledger, second, "emptied", 16 * 60_000)
    ledger.redis.zadd(ledger.keys.incidents, {second.incident_id: 0})
    assert subjects(world) == ["Over: profile removed (Zoom), 2 meetings"]


@pytest.mark.parametrize(
    "settings", [{"dry_run": True}, {"escalation_email": None}], ids=["dry run", "nobody"]
)
def test_an_incident_is_there_without_email_too(begin: Begin, settings: dict[str, Any]) -> None:
    """For the board and the commands, and in the stream."""
    world = removed(begin, 2, **settings)
    ledger = world.services.ledger

    assert subjects(world) == []
    assert size(ledger, only(ledger)) == (2, 1)
    untrack_all(world)
    assert (subjects(world), ledger.incidents.open()) == ([], [])
    assert told(world) == ["incident_opened", "incident_closed"]


def test_a_lost_accounts_events_are_one_incident(begin: Begin) -> None:
    """Over once it is connected again and its events were looked at."""
    world = begin(escalation_email=OPERATOR)
    for number in range(3):
        world.track(f"e{number}")
    world.control.revoke_refresh_token(world.sub)
    world.control.expire_access_token(world.sub)
    looks.reconcile_account(world.services, world.sub)
    ledger = world.services.ledger

    assert (only(ledger).group, size(ledger, only(ledger))) == ("account_unauthorized", (3, 1))
    [subject] = subjects(world)
    assert subject.startswith("3 meetings need a person: no access to the account")


def test_what_somebody_acknowledged_is_not_told(begin: Begin) -> None:
    """It leaves the incident, which is over without it; taken back, nobody is told of it again."""
    world = removed(begin, 2, escalation_digest="PT15M")
    ledger = world.services.ledger
    acknowledge(ledger, world.sub, world.key("e0"), "asked them", None, "dana")
    assert size(ledger, only(ledger)) == (1, 1)
    age(ledger, only(ledger), "opened", 16 * 60_000)
    ledger.redis.zadd(ledger.keys.incidents, {only(ledger).incident_id: 0})
    [subject] = subjects(world)
    assert subject.startswith("1 meeting needs a person")

    acknowledge(ledger, world.sub, world.key("e1"), "", None, "dana")
    age(ledger, only(ledger), "emptied", 16 * 60_000)
    ledger.redis.zadd(ledger.keys.incidents, {only(ledger).incident_id: 0})
    [mail] = world.mails()
    assert "2 of them are not settled" in str(read_back(mail.message).get_body(("plain",)))
    withdraw(ledger, world.sub, world.key("e1"))
    assert (subjects(world), size(ledger, only(ledger))) == ([], (1, 1))


def test_a_choice_that_does_not_help_is_told_again(begin: Begin) -> None:
    """In an incident of its own: the former one was told."""
    world = removed(begin, 2)
    ledger = world.services.ledger
    assert len(subjects(world)) == 1
    for stored in ledger.pending(world.sub):
        lease = claim(ledger, world.sub)
        chosen = replace(stored.event.noted(lease.now, "chosen", "default, by dana"), notified=())
        ledger.commit(lease, Change([EventChange(stored, chosen)]))
    looks.reconcile_account(world.services, world.sub)

    said = subjects(world)
    assert sorted(subject[:20] for subject in said) == ["2 meetings need a pe", "Over: profile remove"]


def test_a_process_that_dies_before_or_after_it_told_tells_once(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark and the email are one step; the email has a fixed id."""
    world = removed(begin, 2)
    ledger = world.services.ledger

    def die(*_: Any, **__: Any) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "tell", die)
        with pytest.raises(KeyboardInterrupt):
            tell_incidents(world.services)
    assert world.services.outbox.has_due()
    incident = only(ledger)
    assert tell_incidents(world.services) == 1
    # One that read the incident before that finds it told.
    assert not ledger.tell(incident, "tell", timedelta(0))
    assert tell_incidents(world.services) == 0
    [mail] = world.mails()
    assert mail.mail_id == f"{incident.incident_id}-opened"


def test_what_an_older_version_told_is_not_told_again(begin: Begin) -> None:
    """It kept no lists: a look of a new one finds it escalated before, and no email follows."""
    world = begin(escalation_email=OPERATOR)
    ledger = world.services.ledger
    ledger.track("a", escalated(an_event()))
    lease = claim(ledger, "a")
    ledger.commit(lease, Change([EventChange(s, later(s)) for s in lease.events]))

    assert size(ledger, only(ledger)) == (1, 1)
    assert subjects(world) == []
    ledger.track("b", an_event())
    look(ledger, "b")
    [subject] = subjects(world)
    assert subject.startswith("2 meetings need a person")


def test_what_an_older_version_removed_does_not_keep_an_incident_open(begin: Begin) -> None:
    """It takes an event out of no list; once in an hour that is found out."""
    world = removed(begin, 1)
    ledger = world.services.ledger
    assert len(subjects(world)) == 1
    ledger.redis.hdel(ledger.keys.events(world.sub), cast("str", world.key("e0").field))
    assert subjects(world) == []

    ledger.redis.zadd(ledger.keys.incidents, {only(ledger).incident_id: 0})

    assert subjects(world) == ["Over: profile removed (Zoom), 1 meeting"]


def test_an_unsent_email_is_composed_again_without_a_forgotten_account(begin: Begin) -> None:
    """It named the account's meetings."""
    world = removed(begin, 1)
    other = world.another()
    other.track("theirs", write=True)
    world.control.remove_profile(other.sub, other.profiles[0])
    other.look("theirs")
    assert tell_incidents(world.services) == 1

    forget.forget(world.services, world.sub)

    [mail] = world.mails()
    text = str(read_back(mail.message))
    assert ("Interview theirs" in text, "Interview e0" in text, world.sub in text) == (True, False, False)


def test_members_can_be_listed_by_account(begin: Begin) -> None:
    """As any list."""
    world = removed(begin, 3)
    ledger = world.services.ledger
    wanted = Wanted(incident=only(ledger).incident_id, account=world.sub)

    found = ledger.lists.page(wanted, 2)

    assert [each.event.key.event_id for each in found.events] == ["e0", "e1"]
    assert len(ledger.lists.page(wanted, 2, found.after).events) == 1
    assert ledger.lists.page(replace(wanted, account="another"), 10).events == ()


def test_the_text_for_cronofys_support_has_no_words_of_ours(begin: Begin) -> None:
    """Neither our names of causes and remedies, nor one line for each look."""
    world = begin(escalation_email="ops@example.org", grace="PT0S", escalate_after="PT0S")
    world.track()
    for _ in range(5):
        world.look()

    [mail] = world.mails()
    text = str(read_back(mail.message).get_body(("plain",)).get_content())  # type: ignore[union-attr]
    pasted = text[text.index("FOR CRONOFY'S SUPPORT") :]
    assert "overdue, no reason found (5 times by then)" in pasted
    assert not [word for word in ("escalate", "unexplained", "Traceback", "RECONCILER") if word in pasted]
