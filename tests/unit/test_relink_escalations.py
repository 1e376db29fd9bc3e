"""The escalation email, and the id that every mail keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.letters import (
    ENTRY,
    ENVELOPE,
    ESCALATION,
    OFFSITE,
    RELINK,
    SOMEDAY,
    PlainText,
    part,
    prose,
    sent,
)
from worker.mail.compose import (
    Escalation,
    compose_escalation,
    compose_relink,
    message_id,
)


def test_escalation_holds_all_that_support_asks_for() -> None:
    """The text of an escalation, word for word."""
    message = compose_escalation(ESCALATION, ENVELOPE)

    assert message["To"] == "ops@example.org"
    assert message["Subject"] == "1 meeting needs a person: Weekly, Tue 1 Dec 2026, 10:00 (Europe/Paris)"
    assert part(message, "plain").splitlines() == [
        "A meeting has no conferencing link, and only a person can help it.",
        "",
        "Account:      acc_1",
        "Email:        dana@example.org",
        "Data centre:  us",
        "",
        "1. Weekly",
        "",
        "Starts:       Tue 1 Dec 2026, 10:00 (Europe/Paris), 2026-12-01T09:00:00+00:00",
        "Calendar:     cal_1",
        "Event:        evt_1",
        "Event UID:    evt_external_1",
        "Cause:        unexplained",
        "Reason:       No link 24 hours after the event was made.",
        "Evidence:",
        "- the profile is connected",
        "- no failure was notified",
        "",
        "If this cannot be mended on your side, write to support@cronofy.com. They need",
        "the account and event details above: account, data centre, calendar, event and",
        "event UID, summary and start.",
    ]


def test_escalation_of_many_counts_them_and_starts_with_the_soonest() -> None:
    """The subject says how many and which is next; what is unknown is left out, not shown as None."""
    bare = Escalation(OFFSITE, "profile_removed", "No clear replacement.", (), None)
    letter = replace(ESCALATION, account_email=None, entries=(replace(ENTRY, meeting=SOMEDAY), ENTRY, bare))

    message = compose_escalation(letter, ENVELOPE)

    assert message["Subject"] == "3 meetings need a person, the soonest: Offsite, Tue 1 Dec 2026 (all day)"
    text, html = prose(message), PlainText(part(message, "html"))
    assert text.index("1. Offsite") < text.index("2. Weekly") < text.index("3. Someday")
    assert html.text.index("Offsite") < html.text.index("Weekly") < html.text.index("Someday")
    for body in (text, html.text):
        assert all(event_id in body for event_id in ("evt_1", "evt_2", "evt_3"))
        assert "None" not in body
        assert body.count("Event UID") == 2
    assert html.targets == ["mailto:support@cronofy.com"]


@pytest.mark.parametrize(
    ("mail_id", "expected"),
    [
        pytest.param("0b5c-12", "<0b5c-12@example.org>", id="plain"),
        pytest.param("acc_1:pro_2", "<acc_1%3Apro_2@example.org>", id="colon"),
        pytest.param("..a.", "<%2E%2Ea%2E@example.org>", id="dots"),
        pytest.param("a>\r\n@b", "<a%3E%0D%0A%40b@example.org>", id="injection"),
    ],
)
def test_message_id_follows_from_the_mail_alone(mail_id: str, expected: str) -> None:
    """The same mail has the same well-formed Message-ID whenever it is sent, and it survives the wire."""
    made = message_id(mail_id, "Conferencing <no-reply@example.org>")

    assert made == message_id(mail_id, "other@example.org") == expected
    assert sent(compose_relink(RELINK, replace(ENVELOPE, message_id=made)))["Message-ID"] == expected


def test_message_id_of_a_long_mail_id_survives_the_wire() -> None:
    """A Message-ID longer than a header line is neither folded apart nor encoded."""
    made = message_id("m" * 120, "a@example.org")
    assert sent(compose_relink(RELINK, replace(ENVELOPE, message_id=made)))["Message-ID"].strip() == made
