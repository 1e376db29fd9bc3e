"""The board's lists, an account's page, and what is done there: rows, filters, forms, and who did it."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
from cryptography.fernet import Fernet
from httpx import Response

from config.settings import Settings, load_settings
from tests.integration.ledgers import an_event, claim
from tests.integration.test_board import TOKEN, ask
from worker.ledger.figures import announce
from worker.ledger.leases import Change, Mail
from worker.ledger.ledger import Connecting, Credentials, Ledger
from worker.ledger.opening import open_ledger
from worker.ledger.outbox import Outbox
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.packing import pack_event
from worker.ledger.paging import PART
from worker.ledger.records import Choice, Episode, Memo, to_ms
from worker.web.board.listing import LISTED
from worker.web.board.urls import account_url, letter_url

KEY = Fernet.generate_key().decode()
EMAIL = "Dana@Example.org"


@pytest.fixture
def settings(redis_url: str, prefix: str) -> Settings:
    """The settings of a board."""
    return load_settings(
        redis_url=redis_url,
        key_prefix=prefix,
        vault_keys=KEY,
        cronofy_client_id="client",
        cronofy_client_secret="secret",
        board_token=TOKEN,
        escalation_email="ops@example.org",
    )


@pytest.fixture
def kept(settings: Settings) -> Ledger:
    """The ledger of that board, with its vault."""
    return open_ledger(settings)


def connect(ledger: Ledger, sub: str, email: str | None = None) -> None:
    """Connect an account."""
    ledger.connect(Connecting(sub, Credentials("token"), "us", email, None))


def fill_accounts(ledger: Ledger, number: int) -> None:
    for n in range(number):
        connect(ledger, f"acc-{n:03}")


def fill_letters(ledger: Ledger, number: int) -> None:
    for n in range(number):
        ledger.dead_letters.keep("conferencing.track", f"Refused {n}.", (), {"sub": f"acc-{n:03}"})


def fill_outcomes(ledger: Ledger, number: int) -> None:
    for n in range(number):
        connect(ledger, f"acc-{n:03}")


def fill_mails(ledger: Ledger, number: int) -> None:
    for n in range(number):
        sub = f"acc-{n:03}"
        connect(ledger, sub, EMAIL)
        mail = Mail(f"m-{n}", b"the link", parts=b"{}", kind="relink")
        ledger.commit(claim(ledger, sub), Change(mails=[mail]))


@pytest.mark.parametrize(
    ("path", "fill", "only"),
    [
        pytest.param("/accounts", fill_accounts, "begins=acc-007", id="accounts"),
        pytest.param("/dead-letters", fill_letters, "account=acc-007", id="dead letters"),
        pytest.param("/outcomes", fill_outcomes, "account=acc-007&type=account_connected", id="outcomes"),
        pytest.param("/mails", fill_mails, "account=acc-007&kind=relink", id="mails"),
    ],
)
def test_a_list_is_empty_then_paged_then_filtered(
    settings: Settings, kept: Ledger, path: str, fill: Callable[[Ledger, int], None], only: str
) -> None:
    """Each row is on one page, a made-up cursor leads to the first, and a filter leaves what fits."""
    assert "None." in ask(settings, path).text
    fill(kept, LISTED + 3)

    first = ask(settings, f"{path}?after=made-up&colour=red").text
    [following] = re.findall('<a href="([^"]+)" rel="next">', first)
    second = ask(settings, html.unescape(following)).text
    last = re.findall('<a href="([^"]+)" rel="next">', second)

    rows = [re.findall(r'account=(acc-\d+)"', text) for text in (first, second)]
    assert [len(each) for each in rows] == [LISTED, 3]
    assert sorted({*rows[0], *rows[1]}) == [f"acc-{n:03}" for n in range(LISTED + 3)]
    assert not last
    assert "colour" not in following
    assert re.findall(r'account=(acc-\d+)"', ask(settings, f"{path}?{only}").text) == ["acc-007"]


def test_accounts_are_listed_by_how_they_stand(settings: Settings, kept: Ledger) -> None:
    """Lost, due, with pending events; each says when."""
    fill_accounts(kept, 2)
    kept.track("acc-001", an_event())
    kept.promote(10)
    kept.commit(claim(kept, "acc-000"), Change(lost=True))
    found = {
        word: re.findall(r'account=([^"]+)"', ask(settings, f"/accounts?standing={word}").text)
        for word in ("lost", "pending", "due", "owing")
    }

    assert found == {"lost": ["acc-000"], "pending": ["acc-001"], "due": ["acc-001"], "owing": []}
    connect(kept, "acc-000")
    assert "None." in ask(settings, "/accounts?standing=lost").text


def test_an_email_is_listed_until_it_left_and_after(settings: Settings, kept: Ledger) -> None:
    """To whom, masked; how often it was tried; never its text, its link or the address."""
    fill_mails(kept, 2)
    outbox = Outbox(kept)
    taken = outbox.take()
    assert taken is not None
    waiting = ask(settings, "/mails").text
    outbox.sent(taken.mail_id)
    gone = ask(settings, "/mails?state=sent").text
    kept.mails.erase(taken.sub)
    assert "None." in ask(settings, "/mails?state=gone").text

    assert [text.count("D***@Example.org") for text in (waiting, gone)] == [2, 1]
    assert "tried again" in waiting
    assert re.search('data-label="tries"[^>]*>1<', gone)
    for text in (waiting, gone):
        assert "the link" not in text
        assert EMAIL not in text


def test_workers_and_queues_are_listed(settings: Settings, kept: Ledger, prefix: str) -> None:
    """Who takes from which queue, how much waits there, and since when the work does."""
    announce(kept.redis, kept.keys, "celery@host", [f"{prefix}.looks"])
    kept.redis.lpush(f"{prefix}.looks", "message", "message")
    kept.track("acc", an_event())
    kept.promote(10)

    text = ask(settings, "/workers").text

    [looks] = [row for row in re.findall("<tr>.*?</tr>", text) if "looks at accounts" in row]
    cells = re.findall("<td[^>]*>(?:<bdi>|<time[^>]*>)?([^<]+)<", looks)
    assert cells[2:4] == ["1", "2"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d .*", cells[4])
    assert "celery@host" in text


def send(settings: Settings, page: str, path: str, data: Mapping[str, str], **headers: str) -> Response:
    """Send the form of a page, signed in."""
    [form, *_] = re.findall('name="form" value="([0-9a-f]+)"', ask(settings, page).text)
    allowed = {"Authorization": f"Bearer {TOKEN}", **headers}
    return ask(settings, path, method="POST", data={"form": form, **data}, headers=allowed)


def sent(ledger: Ledger, queue: str) -> Any:
    """The arguments of the message on a queue; None if there is none."""
    message = ledger.redis.rpop(f"{ledger.prefix}.{queue}")
    body = json.loads(cast("bytes", message))["body"] if message else None
    return json.loads(base64.b64decode(body))[1] if body else None


@pytest.mark.parametrize(
    ("data", "headers", "status", "how"),
    [
        pytest.param({"what": "replay", "by": "Noa"}, {}, 303, "replayed", id="sent again"),
        pytest.param({"what": "drop", "sure": "yes", "by": "Noa"}, {}, 303, "dropped", id="dropped"),
        pytest.param({"what": "drop"}, {}, 400, None, id="not confirmed"),
        pytest.param({"what": "replay", "form": "guessed"}, {}, 403, None, id="another form"),
        pytest.param({"what": "replay"}, {"Sec-Fetch-Site": "cross-site"}, 403, None, id="another site"),
        pytest.param({"what": "replay"}, {"Authorization": "Bearer wrong"}, 401, None, id="nobody we know"),
    ],
)
def test_a_dead_letter_is_sent_again_or_dropped_after_a_look(
    settings: Settings,
    kept: Ledger,
    data: dict[str, str],
    headers: dict[str, str],
    status: int,
    how: str | None,
) -> None:
    """Its own task gets the unmasked arguments; who did what, and when, stays on the page."""
    payload = {"sub": "acc", "refresh_token": "a-secret-token", "email": EMAIL}
    letter_id = kept.dead_letters.keep("conferencing.connect_account", "It failed.", (), payload)
    path = letter_url(letter_id)
    looked = ask(settings, path).text

    answer = send(settings, path, path, data, **headers)

    assert answer.status_code == status
    assert "It failed." in looked
    assert "a-secret-token" not in looked
    assert EMAIL not in looked
    assert (kept.dead_letters.find(letter_id) is None) == (how is not None)
    assert sent(kept, "intake") == (payload if how == "replayed" else None)
    noted = [(each.id, each.how, each.by) for each in kept.dead_letters.handled(5)]
    assert noted == ([(letter_id, how, "Noa")] if how else [])
    if how:
        after = ask(settings, answer.headers["Location"]).text
        assert "Noa" in after
        assert 'role="status"' in after
        assert ask(settings, path).status_code == 404


def test_a_letter_of_a_forgotten_account_is_not_sent_again_unasked(settings: Settings, kept: Ledger) -> None:
    """It takes a tick."""
    kept.forgotten.add("acc", kept.now())
    path = letter_url(kept.dead_letters.keep("conferencing.untrack", "It failed.", (), {"sub": "acc"}))

    answers = [send(settings, path, path, {"what": "replay", **tick}) for tick in ({}, {"sure": "yes"})]

    assert [answer.status_code for answer in answers] == [400, 303]
    assert sent(kept, "intake") == {"sub": "acc"}


def test_an_account_says_how_it_stands_and_what_it_waits_for(settings: Settings, kept: Ledger) -> None:
    """Its tokens, profiles, events, emails and outcomes; no address in clear."""
    connect(kept, "acc", EMAIL)
    kept.track("acc", an_event("e1"))
    now = to_ms(kept.now())
    memo = Memo({"pro_1": Episode(now, 2, ("m1",), ())}, {"pro_1": "zoom"})
    mail = Mail("m1", b"the link", parts=b"{}", kind="relink")
    said = Outcome(OutcomeType.RELINK_REQUESTED, "acc", kept.now(), detail={"mail_id": "m1"})
    names = {"pro_1": EMAIL}
    change = Change(memo=memo, mails=[mail], outcomes=[said], profile_names=names)
    kept.commit(claim(kept, "acc"), change)

    text = ask(settings, account_url("acc")).text

    for words in (
        "Its user to reconnect Zoom (pro_1): 2 emails since",
        "refreshed by us",
        "event=e1",
        "to reconnect a service",
        "user asked to reconnect",
        "D***@Example.org",
    ):
        assert words in text
    assert EMAIL not in text
    assert ask(settings, account_url("nobody")).status_code == 404


def test_a_kept_choice_is_withdrawn_on_its_accounts_page(settings: Settings, kept: Ledger) -> None:
    """It says who chose what, and when; the task is the one that the command sends."""
    connect(kept, "acc")
    one = Choice("pro_1", "pro_2", to_ms(kept.now()), "Noa", ("cal", "e1"))
    kept.commit(claim(kept, "acc"), Change(choices=[one]))
    page = account_url("acc")
    [form] = re.findall('<form class="conditions".*?</form>', ask(settings, page).text, re.DOTALL)
    given = dict(re.findall('name="([a-z]+)" value="([^"]*)"', form))

    answer = send(settings, page, "/board/choose", {**given, "by": "Lea"})

    assert "By <bdi>Noa</bdi>" in form
    assert answer.headers["Location"] == f"{page}&sent="
    event = {"calendar_id": "cal", "event_id": "e1"}
    assert sent(kept, "urgent") == {
        **event,
        "sub": "acc",
        "profile_id": "pro_1",
        "by": "Lea",
        "withdraw": True,
    }


def test_search_finds_by_event_address_and_title_without_keeping_the_address(
    settings: Settings, kept: Ledger
) -> None:
    """An address is found in any case, by a keyed hash; until another takes its place, or it is forgotten."""
    connect(kept, "acc", EMAIL)
    kept.track("acc", replace(an_event("found"), seen={"summary": "Interview with Noa"}))
    kept.track("acc", replace(an_event("other"), seen={"summary": "Lunch"}))

    def found(text: str) -> str | None:
        location: str | None = ask(settings, "/board/search", params={"q": text}).headers.get("Location")
        return location

    assert found("dana@example.ORG ") == account_url("acc")
    assert found("found") == "/board/event?account=acc&calendar=cal&event=found"
    titled = ask(settings, "/events?account=acc&title=interview").text
    assert re.findall("event=([a-z]+)", titled) == ["found"]
    index = repr(kept.redis.zrange(kept.keys.emails, 0, -1)).lower()
    assert "dana" not in index
    assert "example" not in index
    connect(kept, "acc", "noa@example.org")
    assert (found(EMAIL), found("noa@example.org")) == (None, account_url("acc"))
    kept.forget("acc")
    assert (found("noa@example.org"), found("found")) == (None, None)
    assert not [key for key in (kept.keys.emails, kept.keys.accounts) if kept.redis.exists(key)]


def test_the_meter_and_the_plot_are_what_the_ledger_says(settings: Settings, kept: Ledger) -> None:
    """The calls of the last minute of those allowed; each sample at its height, and now at the edge."""
    for n in range(3):
        kept.track("acc", an_event(f"e{n}"))
    counts = (7, 40, 0, 13)
    now = to_ms(kept.now())
    for n, count in enumerate(counts):
        kept.redis.xadd(kept.keys.backlog, {"pending": count}, id=f"{now - (len(counts) - n) * 300_000}-0")
    place = "client@https://api.cronofy.com"
    kept.redis.sadd(kept.keys.budgets, kept.keys.budget(place))
    kept.redis.zadd(kept.keys.budget(place), {f"call-{n}": now - n * 1000 for n in range(11)})

    text = ask(settings, "/").text

    [meter] = re.findall("<meter [^>]*>", text)
    assert 'value="11"' in meter
    assert f'max="{int(settings.api_per_minute * settings.api_share)}"' in meter
    [line] = re.findall('<path class="line" d="([^"]+)"', text)[:1]
    heights = [float(point.split()[1]) for point in re.split("[ML]", line)[1:]]
    top = int(re.findall('class="top"[^>]*>([0-9,]+)<', text)[0])
    assert heights == [round(100 * (1 - count / top), 1) for count in (*counts, 3)]
    assert "now 3, at least 0, at most 40." in text


def test_pages_of_an_account_with_very_many_events_say_that_they_show_some(
    settings: Settings, kept: Ledger
) -> None:
    """What is read of them is bounded; a search by title says how many it looked at, and goes on."""
    connect(kept, "acc")
    events = [an_event(f"e{n}", hours=1 + n) for n in range(3 * PART)]
    values: dict[Any, Any] = {each.key.field: pack_event(each) for each in events}
    for key in (kept.keys.events("acc"), kept.keys.settled("acc")):
        kept.redis.hset(key, mapping=values)

    account = ask(settings, account_url("acc")).text
    listed = ask(settings, "/events?account=acc").text
    searched = ask(settings, "/events?account=acc&title=nothing-like-it").text
    small = ask(settings, "/events?account=nobody").text

    assert account.count("among some thousands that were read") == 2
    assert "All 7,500 pending events" in account
    assert "This account has 7,500 pending events, which nothing sorts" in listed
    assert listed.count('data-label="event"') == LISTED
    assert "None of the 1,000 that were looked at for this page, but there may be more." in searched
    assert 'rel="next"' in searched
    assert "nothing sorts" not in small


def test_a_report_without_meetings_has_no_empty_plots(settings: Settings, kept: Ledger) -> None:
    """It says that there were none."""
    text = ask(settings, "/report").text

    assert "<svg" not in text
    assert text.count("None in these days.") == 2
