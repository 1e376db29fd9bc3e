"""What the relink email and the escalation say, and that no value in them escapes its place."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.emails import (
    AFFECTED,
    DANA,
    ENVELOPE,
    FALLBACK,
    INCIDENT,
    OFFSITE,
    OPENED,
    RELINK,
    REMOVED,
    SOMEDAY,
    WEEKLY,
    PlainText,
    composed,
    part,
    prose,
    sent,
)
from worker.diagnosis.model import Cause
from worker.mail.advice import ADVICE
from worker.mail.compose import (
    Candidate,
    compose_incident,
    message_id,
)
from worker.mail.letters import Meeting


def test_first_email_says_who_writes_what_happened_and_what_to_do() -> None:
    """The full text of a first email."""
    message = composed(replace(RELINK, meetings=(WEEKLY, OFFSITE)))

    assert message["Subject"] == "Reconnect Zoom: 2 upcoming meetings have no link yet"
    assert part(message, "plain").splitlines() == [
        "Hello Dana,",
        "",
        "Acme Hiring creates the video links of your meetings. The connection to Zoom has expired, so 2 "
        "upcoming meetings have no link yet. Account: dana@work.example",
        "",
        "Please open this page and sign in once:",
        "",
        "https://app.cronofy.com/v2/relink/zoom?email=dana%40example.org&token=s3cret",
        "",
        "These meetings are waiting for their links:",
        "",
        "- Tuesday, December 1, 2026 (all day): Offsite",
        f"- {TEN}: Weekly",
        "",
        "Nothing else is needed: the links then appear in your calendar automatically.",
        "",
        "If you have done so in the meantime, you can ignore this email.",
        "The page is meant for you alone, so please do not pass it on.",
        "",
        "--",
        "This email was sent automatically, because Acme Hiring looks after the meetings in your calendar.",
        "Questions? Write to help@acme.example.",
    ]


TEN = "Tuesday, December 1, 2026, 10:00\xa0AM (Central European Standard Time)"
REMINDER = "Reminder: Reconnect Zoom: {} no link yet"


@pytest.mark.parametrize(
    ("meetings", "count", "reminder", "subject", "ending"),
    [
        ("one upcoming meeting", 1, 0, "Reconnect Zoom: {} has no link yet", "{} has no link yet."),
        ("3 upcoming meetings", 3, 0, "Reconnect Zoom: {} have no link yet", "{} have no link yet."),
        ("one upcoming meeting has", 1, 1, REMINDER, "{} no link yet."),
        ("3 upcoming meetings have", 3, 2, REMINDER, "{} no link yet."),
    ],
)
def test_subject_and_first_sentence(
    meetings: str, count: int, reminder: int, subject: str, ending: str
) -> None:
    """Number and occasion match in subject, text and HTML."""
    message = composed(replace(RELINK, meetings=(WEEKLY,) * count, reminder=reminder), ENVELOPE)

    sentence = f"The connection to Zoom has expired, so {ending.format(meetings)}"
    assert ("This is a reminder. Acme Hiring creates" in prose(message)) is (reminder > 0)
    assert message["Subject"] == subject.format(meetings)
    assert sentence in prose(message)
    assert sentence in PlainText(part(message, "html")).text


@pytest.mark.parametrize(
    ("provider_name", "shown"),
    [
        pytest.param("zoom", "Zoom", id="zoom"),
        pytest.param("go_to", "GoTo", id="go_to"),
        pytest.param("ms_teams", "Microsoft Teams", id="teams"),
        pytest.param("google_meet_api", "Google Meet", id="meet"),
        pytest.param("google", "Google", id="Google"),
        pytest.param("office365", "Microsoft 365", id="Microsoft 365"),
        pytest.param("exchange", "Microsoft Exchange", id="Exchange"),
        pytest.param("new\r\n_thing\u202e", "new _thing", id="unknown, on one line"),
        pytest.param(None, "conferencing", id="none"),
        pytest.param("\n", "conferencing", id="blank"),
    ],
)
def test_provider_has_its_display_name(provider_name: str | None, shown: str) -> None:
    """A known provider has its display name; an unknown one is shown as Cronofy spells it."""
    message = composed(replace(RELINK, provider_name=provider_name), ENVELOPE)

    assert message["Subject"] == f"Reconnect {shown}: one upcoming meeting has no link yet"
    assert f"The connection to {shown} has expired" in prose(message)


@pytest.mark.parametrize(
    ("provider_name", "shown"),
    [
        pytest.param("google", "Google calendar", id="known"),
        pytest.param("abacus", "abacus calendar", id="unknown"),
        pytest.param(None, "calendar", id="none"),
        pytest.param("\n", "calendar", id="blank"),
    ],
)
def test_a_calendar_is_called_one(provider_name: str | None, shown: str) -> None:
    """It is no conferencing service, though meetings wait for it."""
    email = replace(RELINK, provider_name=provider_name, is_calendar=True)
    message = composed(email, ENVELOPE)

    assert message["Subject"] == f"Reconnect your {shown}: one upcoming meeting has no link yet"
    for words in (prose(message), PlainText(part(message, "html")).text):
        assert f"The connection to your {shown} has expired" in words
        assert "conferencing" not in words


def test_a_profile_named_like_its_service_is_not_named_twice() -> None:
    """The name is shown only where it says more."""
    assert "Account:" not in prose(composed(replace(RELINK, profile_name="zoom"), ENVELOPE))


def test_meetings_stand_soonest_first_across_zones_and_all_day_events() -> None:
    """An all-day event counts from midnight in its zone; a meeting without a start comes last."""
    new_year_in = {
        zone: Meeting(f"Day in {zone}", date(2027, 1, 1), zone, "cal_1", zone)
        for zone in ("Pacific/Auckland", "America/New_York")
    }
    noon = Meeting("Noon UTC before", datetime(2026, 12, 31, 12, 0, tzinfo=UTC), None, "cal_1", "noon")
    meetings = (SOMEDAY, new_year_in["America/New_York"], noon, new_year_in["Pacific/Auckland"])

    message = composed(replace(RELINK, meetings=meetings), ENVELOPE)

    listed = [row for row in part(message, "plain").splitlines() if row.startswith("- ")]
    assert listed == [
        "- Friday, January 1, 2027 (all day): Day in Pacific/Auckland",
        "- Thursday, December 31, 2026, 12:00\xa0PM (UTC): Noon UTC before",
        "- Friday, January 1, 2027 (all day): Day in America/New_York",
        "- time unknown: Someday",
    ]


@pytest.mark.parametrize("count", [50, 51, 1000])
def test_a_long_list_is_cut_and_says_so(count: int) -> None:
    """At most the 50 soonest meetings are listed; the subject still counts all."""
    start = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
    meetings = [replace(WEEKLY, summary=f"No. {n}", start=start + timedelta(hours=n)) for n in range(count)]

    message = composed(replace(RELINK, meetings=tuple(reversed(meetings))), ENVELOPE)

    text, html = part(message, "plain"), PlainText(part(message, "html")).text
    more = "and one more" if count == 51 else f"and {count - 50} more"
    assert [f"No. {n}\n" in text for n in range(count)] == [n < 50 for n in range(count)]
    assert [f"- {more}\n" in text, more in html] == [count > 50] * 2
    assert f"{count:,} upcoming meetings" in str(message["Subject"])


NINE = datetime(2026, 12, 1, 9, tzinfo=UTC)
NINE_UTC = "Tuesday, December 1, 2026, 9:00\xa0AM (UTC)"
JULY = "Wednesday, July 1, 2026, 10:05\xa0AM (Central European Summer Time)"
TOKYO = "Wednesday, December 2, 2026, 8:30\xa0AM (Japan Standard Time)"
SUMMER, LATE = datetime(2026, 7, 1, 8, 5, tzinfo=UTC), datetime(2026, 12, 1, 23, 30, tzinfo=UTC)
LAST = datetime(9999, 12, 31, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "tzid", "shown"),
    [
        pytest.param(
            SUMMER,
            "Europe/Paris",
            JULY,
            id="summer time",
        ),
        pytest.param(
            LATE,
            "Asia/Tokyo",
            TOKYO,
            id="another day there",
        ),
        pytest.param(NINE, None, NINE_UTC, id="no zone: UTC"),
        pytest.param(NINE, "Etc/UTC", NINE_UTC, id="Etc/UTC"),
        pytest.param(NINE, "Romance Standard Time", TEN, id="Windows' name"),
        pytest.param(NINE, "Mars/Olympus", NINE_UTC, id="unknown zone"),
        pytest.param(NINE, "../x\0", NINE_UTC, id="not a zone's name"),
        pytest.param(NINE, "Europe", NINE_UTC, id="folder of zones"),
        pytest.param(date(2026, 12, 1), "Asia/Tokyo", "Tuesday, December 1, 2026 (all day)", id="all day"),
        pytest.param(LAST, "Asia/Tokyo", "time unknown", id="end of the calendar"),
        pytest.param(None, "Asia/Tokyo", "time unknown", id="unknown"),
    ],
)
def test_a_start_is_in_the_readers_zone(start: datetime | date | None, tzid: str | None, shown: str) -> None:
    """A start is shown in the meeting's zone, with the zone's name."""
    email = replace(RELINK, meetings=(replace(WEEKLY, start=start, tzid=tzid),))
    assert f"- {shown}: Weekly\n" in part(composed(email, ENVELOPE), "plain")


@pytest.mark.parametrize(
    ("summary", "shown"),
    [
        pytest.param("Weekly", "Weekly", id="plain"),
        pytest.param("", "(no title)", id="empty"),
        pytest.param(" \u200b\n", "(no title)", id="nothing to see"),
        pytest.param("a\r\nb\u2028c\td\x00e", "a b c de", id="one line"),
        pytest.param("evil\u202egnp.exe\u2066", "evilgnp.exe", id="bidi"),
        pytest.param("\ud83dhalf", "half", id="lone surrogate"),
        pytest.param("会議 👩\u200d💻", "会議 👩\u200d💻", id="emoji keeps its joiner"),
        pytest.param("x" * 200, "x" * 200, id="200 characters"),
        pytest.param("x" * 201, "x" * 199 + "…", id="201 characters"),
        pytest.param("{{ 7 * 7 }}", "{{ 7 * 7 }}", id="template syntax"),
        pytest.param('<b>&"</b>', '<b>&"</b>', id="markup"),
    ],
)
def test_summary_is_shown_on_one_bounded_line(summary: str, shown: str) -> None:
    """A summary is shown as text, in both parts, and stays on its line."""
    message = sent(composed(replace(RELINK, meetings=(replace(WEEKLY, summary=summary),)), ENVELOPE))

    line = f"- {TEN}: {shown}\n"
    assert line in part(message, "plain").replace("\r\n", "\n")
    assert shown in PlainText(part(message, "html")).words


def test_html_has_one_button_and_the_visible_url() -> None:
    """The relink URL is the only link target, and is also shown as text."""
    email = replace(RELINK, relink_url='https://app.cronofy.com/?a=1&b="><i>')

    html = PlainText(part(composed(email, ENVELOPE), "html"))

    assert html.tags.isdisjoint({"script", "i", "img"})
    assert html.targets == [email.relink_url, email.relink_url, "mailto:help@acme.example"]
    assert email.relink_url in html.words


def test_headers_are_complete_and_mark_the_email_as_automatic() -> None:
    """All headers of an email, after transmission."""
    message = sent(composed(RELINK, ENVELOPE))

    headers = {name: str(value) for name, value in message.items() if name != "Content-Type"}
    assert headers == {
        "From": "Conferencing <no-reply@example.org>",
        "To": "Dana <dana@example.org>",
        "Reply-To": "help@example.org",
        "Subject": "Reconnect Zoom: one upcoming meeting has no link yet",
        "Date": "Mon, 30 Nov 2026 08:15:00 +0000",
        "Message-ID": "<mail-1@example.org>",
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        "MIME-Version": "1.0",
    }
    assert message.get_content_type() == "multipart/alternative"
    parts = [(p["Content-Type"], p["Content-Transfer-Encoding"]) for p in message.iter_parts()]
    assert parts == [(f'text/{kind}; charset="utf-8"', "quoted-printable") for kind in ("plain", "html")]
    assert "Reply-To" not in composed(RELINK, replace(ENVELOPE, reply_to=None))


@pytest.mark.parametrize(
    "text",
    ["Александр Николаевич Островский", "عبد الرحمن محمد الشريف القاضي", "スティーブン スピルバーグ ジョン"],
    ids=ascii,
)
def test_names_of_every_script_keep_their_blanks(text: str) -> None:
    """A name or subject split into several encoded words reads as it was written."""
    summary = f"{text} {text}"[:60].strip()
    entry = replace(AFFECTED, meeting=replace(WEEKLY, summary=summary))
    incident = compose_incident(replace(INCIDENT, affected=(entry,)), ENVELOPE)
    relink = composed(replace(RELINK, reader=replace(DANA, name=text)), ENVELOPE)

    def read(mail: EmailMessage, name: str) -> str:
        # The older parser: the newer one inserts blanks between the words of a name.
        return str(make_header(decode_header(message_from_bytes(mail.as_bytes())[name])))

    assert f"a person: overdue, no reason found (Zoom), {summary}, Tue 1 Dec" in read(incident, "Subject")
    assert read(relink, "To") == f"{text} <dana@example.org>"


#: No domain, no local part, more than an address, or with characters that no address may have.
UNFIT = [
    *("", "dana", "dana@", "@example.org", "dana @example.org", "dana@-example.org", "d..a@example.org"),
    *("dana@example.org\r\nBcc: eve@example.org", "dana@example.org\n", "dana@example.org, eve@example.org"),
    *("Dana <dana@example.org>", '"da na"@example.org', "dana(eve)@example.org", "=?utf-8?q?x?=@example.org"),
    *("dana@[127.0.0.1]", "dana@b_ü.example", "dana@ü..de", "dana@☃.example"),
    *("d" * 65 + "@example.org", "ü" * 33 + "@example.org", "dana@" + "e" * 250),
]


@pytest.mark.parametrize("address", UNFIT, ids=[ascii(address[:40]) for address in UNFIT])
def test_unfit_address_is_refused_by_name(address: str) -> None:
    """An address that is not plain is refused, in one printable line that names it."""
    with pytest.raises(ValueError, match=r"^not a plain email address: '") as refused:
        composed(replace(RELINK, reader=replace(DANA, address=address)), ENVELOPE)

    assert str(refused.value).isprintable()
    assert address[:20].partition("\r")[0].strip() in str(refused.value)


@pytest.mark.parametrize("character", ["\u00a0", "\u200b", "\u202e", "\ud800", "\x85"], ids=ascii)
@pytest.mark.parametrize("place", ["d{}ü@example.org", "dana@ü{}.example"], ids=["name", "domain"])
def test_an_address_with_an_invisible_character_is_refused(character: str, place: str) -> None:
    """Beyond ASCII too, what is written must be seen."""
    with pytest.raises(ValueError, match="not a plain email address"):
        composed(replace(RELINK, reader=replace(DANA, address=place.format(character))), ENVELOPE)


def test_emails_that_cannot_be_right_are_refused() -> None:
    """The installation's own addresses follow the same rule; an email always has a subject matter."""
    for unfit in (replace(ENVELOPE, sender="A <a@b>, c@d"), replace(ENVELOPE, reply_to="a@b\nc")):
        with pytest.raises(ValueError, match="not a plain email address"):
            composed(RELINK, unfit)
    with pytest.raises(ValueError, match="at least one affected meeting"):
        composed(replace(RELINK, meetings=(), reminder=1), ENVELOPE)


def test_a_relink_email_before_any_event_waits() -> None:
    """It speaks of no meeting, in either part."""
    message = composed(replace(RELINK, meetings=()), ENVELOPE)

    assert message["Subject"] == "Reconnect Zoom: the connection has expired"
    for words in (prose(message), PlainText(part(message, "html")).text):
        assert "has expired, so new meetings get no link until it is connected again." in words
        assert "waiting" not in words
        assert "0 " not in words


def test_another_link_is_told_with_its_reason() -> None:
    """The full text, once the meeting has the company's room."""
    message = composed(FALLBACK)

    assert message["Subject"] == f"Your meeting has another link: Weekly, {TEN}".replace("\xa0", " ")
    assert part(message, "plain").splitlines()[:-4] == [
        "Hello Dana,",
        "",
        "Acme Hiring creates the video links of your meetings. This meeting starts soon and had no link yet. "
        "The conferencing service is not working at the moment.",
        "",
        "Weekly",
        TEN,
        "",
        "So that it can take place, it now has another link:",
        "",
        "https://meet.example.com/a2b3",
        "",
        "The link is in the calendar entry as well. If you told anybody how to join in another way, please "
        "send them the new link.",
    ]
    html = PlainText(part(message, "html"))
    assert html.targets == ["https://meet.example.com/a2b3"] * 2 + ["mailto:help@acme.example"]


@pytest.mark.parametrize(
    ("provider_name", "shown"),
    [
        pytest.param("ms_teams", "set up with Microsoft Teams. The link", id="another service"),
        pytest.param(None, "set up with the calendar's own conferencing. The link", id="the calendar's own"),
        pytest.param("", "set up with another service. The link", id="unknown"),
    ],
)
def test_a_link_that_is_still_made_is_told_by_its_service(provider_name: str | None, shown: str) -> None:
    """The email says where it will appear."""
    message = composed(replace(FALLBACK, provider_name=provider_name, join_url=None), ENVELOPE)

    assert message["Subject"].startswith("Your meeting gets another link: Weekly")
    for text in (prose(message), PlainText(part(message, "html")).text):
        assert shown in text
        assert "The link appears in the calendar entry as soon as it is created" in text


def test_a_letter_says_that_no_reason_was_found_only_where_that_is_so() -> None:
    """Any cause without a sentence of its own has one that is always true."""
    said = {cause: prose(composed(replace(FALLBACK, cause=cause))) for cause in Cause}

    unexplained = "The link was not created, for a reason that we could not find."
    assert [cause for cause in Cause if unexplained in said[cause]] == [Cause.UNEXPLAINED]
    assert "The link was not created in time." in said[Cause.ACCOUNT_UNAUTHORIZED]


def test_an_incident_nobody_can_explain_has_a_text_for_cronofys_support() -> None:
    """With every id that support asks for, absolute times, and what was seen and done."""
    message = compose_incident(INCIDENT, ENVELOPE)

    assert message["To"] == "ops@example.org"
    assert message["Subject"] == (
        "1 meeting needs a person: overdue, no reason found (Zoom), "
        "Weekly, Tue 1 Dec 2026, 10:00 (Europe/Paris)"
    )
    lines = part(message, "plain").splitlines()
    assert lines[lines.index("FOR CRONOFY'S SUPPORT, ready to paste") :] == [
        "FOR CRONOFY'S SUPPORT, ready to paste",
        "",
        "Hello, these events have asked for conferencing, and it is still pending. Could you tell us why?",
        "",
        "Client id: client-1",
        "",
        "Event 1",
        "Data centre: us",
        "Account (sub): acc_1",
        "Calendar: cal_1",
        "Event id: evt_1",
        "Event uid: evt_external_1",
        "Starts: 2026-12-01 09:00:00 UTC",
        "Seen: Conferencing has been pending for a day with no visible reason.",
        "- 2026-11-30 08:00:00 UTC: overdue, no reason found (14 times by then)",
        "",
        "Incident 0a1b2c3d4e, since 2026-11-30 08:00:00 UTC",
    ]


def test_advice_fits_the_cause() -> None:
    """Cronofy's support is named only where nothing is visibly wrong; profiles only where one was removed."""
    for kind in ADVICE:
        body = prose(compose_incident(replace(INCIDENT, kind=kind, provider_name=None), ENVELOPE))
        assert ("support@cronofy.com" in body) is (kind == "unexplained")
        assert ("FOR CRONOFY'S SUPPORT" in body) is (kind == "unexplained")
        assert "reconciler choose" not in body


def test_a_removed_profile_has_its_candidates_by_name_and_the_commands() -> None:
    """One command for all of them, and one for each."""
    email = replace(INCIDENT, kind="profile_removed", events=400, accounts=2, removed=(REMOVED,))

    message = compose_incident(email, ENVELOPE)

    text, html = prose(message), PlainText(part(message, "html"))
    said = "400 meetings need a person: profile removed (Zoom), the soonest: Weekly"
    assert message["Subject"].startswith(said)
    for body in (text, html.text):
        assert "reconciler choose --incident 0a1b2c3d4e --to same-provider" in body
        assert "reconciler choose acc_1 pro_1 --to ..." in body
        assert "Zoom (dana@work.example) of dana@example.org" in body
        assert "lee@work.example" in body
        assert "and 399 more" in body
    assert "pro_2: Zoom, lee@work.example" in text


@pytest.mark.parametrize("acknowledged", [0, 1, 2])
def test_one_that_is_over_says_what_is_left(acknowledged: int) -> None:
    """What somebody acknowledged is not settled."""
    email = replace(INCIDENT, is_over=True, events=3, acknowledged=acknowledged, affected=())

    message = compose_incident(email, ENVELOPE)

    assert message["Subject"] == "Over: overdue, no reason found (Zoom), 3 meetings"
    for body in (prose(message), PlainText(part(message, "html")).text):
        assert "3 meetings were affected in all." in body
        assert ("reconciler list --acknowledged" in body) is bool(acknowledged)


@pytest.mark.parametrize(
    ("mail_id", "expected"),
    [
        pytest.param("0b5c-12", "<0b5c-12@example.org>", id="plain"),
        pytest.param("acc_1:pro_2", "<acc_1%3Apro_2@example.org>", id="colon"),
        pytest.param("..a.", "<%2E%2Ea%2E@example.org>", id="dots"),
        pytest.param("a>\r\n@b", "<a%3E%0D%0A%40b@example.org>", id="injection"),
        pytest.param("m" * 120, f"<{'m' * 120}@example.org>", id="longer than a header line"),
    ],
)
def test_message_id_depends_only_on_the_email(mail_id: str, expected: str) -> None:
    """The same email has the same valid Message-ID whenever it is sent, and transmission keeps it."""
    made = message_id(mail_id, "Conferencing <no-reply@example.org>")

    assert made == message_id(mail_id, "other@example.org") == expected
    assert sent(composed(RELINK, replace(ENVELOPE, message_id=made)))["Message-ID"].strip() == expected


#: Line breaks of every kind, bidi controls, invisible characters, markup, and header syntax.
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
    """Whether it is a control or invisible character, apart from our line breaks and joiners."""
    hidden = unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return hidden and character not in "\r\n\u200c\u200d"


@given(name=nasty, summary=nasty, provider=st.text(max_size=100))
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_what_people_write_stays_text_on_its_line(name: str, summary: str, provider: str) -> None:
    """An email has its own headers and links, one recipient, and short ASCII lines, whatever people write."""
    meeting = replace(WEEKLY, summary=summary)
    plain = replace(RELINK, profile_name="Work", provider_name=provider)
    relink = replace(plain, reader=replace(DANA, name=name), profile_name=name, meetings=(meeting,))
    entry = replace(AFFECTED, meeting=meeting, reason=name, history=((OPENED, name),), account_email=name)
    gone = replace(REMOVED, profile_name=name, soonest=meeting, candidates=(Candidate(name, name, name),))
    incident = replace(INCIDENT, affected=(entry,), removed=(gone,), provider_name=provider)

    for to, message in (
        (DANA.address, composed(relink, ENVELOPE)),
        (incident.to, compose_incident(incident, ENVELOPE)),
    ):
        wire, received = message.as_bytes(), sent(message)
        assert wire.isascii()
        assert max(map(len, wire.split(b"\r\n"))) <= 998
        assert received.keys() == [
            *("From", "To", "Reply-To", "Subject", "Date", "Message-ID", "Auto-Submitted"),
            *("X-Auto-Response-Suppress", "MIME-Version", "Content-Type"),
        ]
        assert [address.addr_spec for address in received["To"].addresses] == [to]
        assert len(received["Subject"]) < 150
        assert received["Subject"].strip() == message["Subject"]
        assert not received.defects
        assert part(received, "plain").splitlines() == part(message, "plain").splitlines()
        shown = part(received, "plain"), part(received, "html"), str(received["Subject"])
        assert not [c for text in shown for c in text if is_harmful(c)]
        assert len(shown[0]) < 10_000
    html, harmless = (PlainText(part(composed(each, ENVELOPE), "html")) for each in (relink, plain))
    assert (html.tags, html.targets) == (harmless.tags, harmless.targets)
