"""Nothing that a user wrote reaches a header, or anybody else."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.letters import (
    ENTRY,
    ENVELOPE,
    ESCALATION,
    RELINK,
    WEEKLY,
    part,
    sent,
)
from worker.mail.compose import compose_escalation, compose_relink


@given(
    name=st.text(max_size=300) | st.sampled_from(["=?utf-8?q?=0D=0ABcc:=20e@x?=", "Lee, Ann (é) <x@y>"]),
    summary=st.text(max_size=300) | st.just("=?utf-8?b?DQpCY2M6IGVAeA==?="),
    provider=st.text(max_size=100),
)
@settings(deadline=None, max_examples=80)
def test_no_text_injects_a_header_or_another_recipient(name: str, summary: str, provider: str) -> None:
    """Whatever names and summaries hold, a mail has its own headers, one recipient and 7-bit bytes."""
    meeting = replace(WEEKLY, summary=summary)
    relink = replace(RELINK, name=name, provider_name=provider, profile_name=name, meetings=(meeting,))
    escalation = replace(
        ESCALATION, entries=(replace(ENTRY, meeting=meeting, reason=name, evidence=(name,)),)
    )

    for message in (compose_relink(relink, ENVELOPE), compose_escalation(escalation, ENVELOPE)):
        wire = message.as_bytes()
        received = sent(message)
        assert wire.isascii()
        assert received.keys() == [
            *("From", "To", "Reply-To", "Subject", "Date", "Message-ID", "Auto-Submitted"),
            *("X-Auto-Response-Suppress", "MIME-Version", "Content-Type"),
        ]
        assert [a.addr_spec for a in received["To"].addresses] == [
            relink.to if "Reconnect" in message["Subject"] else escalation.to
        ]
        assert len(received["Subject"]) < 150
        assert received["Subject"].strip() == message["Subject"]
        assert not received.defects
        assert part(received, "plain").splitlines() == part(message, "plain").splitlines()
