"""Nothing that a user wrote reaches a header, turns into markup or leaves its line."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.letters import ENTRY, ENVELOPE, ESCALATION, RELINK, WEEKLY, PlainText, part, sent
from worker.mail.compose import compose_escalation, compose_relink

#: Line breaks of every kind, what turns text around, what hides in it, markup, and what headers are made of.
NASTY = (
    *("\r\nBcc: eve@example.org\r\n\r\n<b>", "\n.\r\n", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\0"),
    *("\u202e", "\u2066", "\u2069", "\u200f", "\u061c", "\ufeff", "\u200b", "\ud800", "\U000e0041"),
    *("<script>alert(1)</script>", '"><a href="https://phish.example">', "&amp;", "'", "{{ 7*7 }}"),
    *("=?utf-8?b?DQpCY2M6IGVAeA==?=", "=?utf-8?q?=0D=0ABcc:=20e@x?=", "=0D=0A", "%0d%0a"),
    *("a@b.example, ", "Lee, Ann (é) <x@y>", "é", "会议", "🙂"),
)
texts = st.lists(st.sampled_from(NASTY) | st.text(max_size=20), min_size=1, max_size=8).map("".join)
nasty = texts | st.text(max_size=300) | texts.map(lambda text: (text * 10_000)[:10_000])


def is_harmful(character: str) -> bool:
    """Whether it is a control or an invisible character, except for our line breaks and for joiners."""
    hidden = unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return hidden and character not in "\r\n\u200c\u200d"


@given(name=nasty, summary=nasty, provider=st.text(max_size=100))
@settings(deadline=None, max_examples=80)
def test_what_people_write_stays_text_on_its_line(name: str, summary: str, provider: str) -> None:
    """A mail has its own headers and links, one recipient, and short ASCII lines, whatever people write."""
    meeting = replace(WEEKLY, summary=summary)
    plain = replace(RELINK, name="Dana", profile_name="Work", provider_name=provider)
    relink = replace(plain, name=name, profile_name=name, meetings=(meeting,))
    entry = replace(ENTRY, meeting=meeting, reason=name, evidence=(name,))
    escalation = replace(ESCALATION, entries=(entry,))

    for letter, message in (
        (relink, compose_relink(relink, ENVELOPE)),
        (escalation, compose_escalation(escalation, ENVELOPE)),
    ):
        wire, received = message.as_bytes(), sent(message)
        assert wire.isascii()
        assert max(map(len, wire.split(b"\r\n"))) <= 998
        assert received.keys() == [
            *("From", "To", "Reply-To", "Subject", "Date", "Message-ID", "Auto-Submitted"),
            *("X-Auto-Response-Suppress", "MIME-Version", "Content-Type"),
        ]
        assert [address.addr_spec for address in received["To"].addresses] == [letter.to]
        assert len(received["Subject"]) < 150
        assert received["Subject"].strip() == message["Subject"]
        assert not received.defects
        assert part(received, "plain").splitlines() == part(message, "plain").splitlines()
        shown = part(received, "plain"), part(received, "html"), str(received["Subject"])
        assert not [c for text in shown for c in text if is_harmful(c)]
        assert len(shown[0]) < 10_000
    html, harmless = (PlainText(part(compose_relink(each, ENVELOPE), "html")) for each in (relink, plain))
    assert (html.tags, html.targets) == (harmless.tags, harmless.targets)
