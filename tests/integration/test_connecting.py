"""From a removed profile to the one that the user connects by our link (contract §2 and §6)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from sandbox.server import RunningSandbox
from tests.integration.connecting import asked, link_in
from tests.integration.world import Begin, World
from tests.unit.emails import part
from tests.waiting import wait_until
from worker.ledger.figures import read_figures
from worker.ledger.records import to_ms
from worker.mail.compose import read_back, recipient_of
from worker.mail.connect_links import ConnectLinks
from worker.mail.letters import Reader
from worker.run.connections import authorize_connection

DANA = Reader("dana@example.org")


def browser() -> httpx.Client:
    return httpx.Client(follow_redirects=False, timeout=20, trust_env=False)


def connect_at(client: httpx.Client, address: str) -> str:
    """The user consents at Cronofy; returns where that leads."""
    return client.post(address).headers["location"]


def zooms(world: World) -> list[str]:
    return [p["profile_id"] for p in world.control.account(world.sub)["conferencing_profiles"]]


def test_the_user_connects_and_the_event_gets_its_link(
    begin: Begin, running: RunningSandbox, redis_url: str, prefix: str
) -> None:
    """One email, one press, no escalation: what was connected by our link is theirs, whatever its name."""
    running.control.set_settings(generation_seconds=0.2)
    with (
        asked(begin, redis_url, prefix, "e1", "e2", relink_reminders="P1D") as (world, hand),
        browser() as user,
    ):
        answer = world.look("e1")
        assert (answer["cause"], answer["remedy"]) == ("profile_removed", "connect_email")
        link = link_in(world)
        shown = user.get(link)
        assert "Connect Zoom" in shown.text
        assert str(world.account["email"]) in shown.text
        away = user.post(link)
        assert away.status_code == 303
        assert away.headers["location"].startswith(f"{running.url}/conferencing_services/")
        back = connect_at(user, away.headers["location"])
        assert urlsplit(back).path == "/connect/done"
        user.cookies.set("reconciler_connect", away.cookies["reconciler_connect"])
        thanks = user.get(back)
        assert "Zoom is connected" in thanks.text
        wait_until(lambda: "conferencing.note_connection" in hand.done, what="the look")
        [new] = zooms(world)
        wait_until(lambda: world.look("e1")["state"] == "assigned", 10, 0.2, what="the link")
        wait_until(lambda: world.look("e2")["state"] == "assigned", 10, 0.2, what="the link")

        outcomes = world.outcomes()
        assert [o["type"] for o in outcomes].count("escalated") == 0
        [requested] = [o for o in outcomes if o["type"] == "connect_requested"]
        assert requested["detail"]["provider_name"] == "zoom"
        [connected] = [o for o in outcomes if o["type"] == "connected"]
        assert sorted(connected["detail"]["event_ids"]) == ["e1", "e2"]
        assert connected["cause"] == "profile_removed"
        told = [o["detail"] for o in outcomes if o["type"] == "reassigned"]
        assert {t["to_profile_id"] for t in told} == {new}
        assert {t["chosen_by"] for t in told} == {"the user"}
        assert world.mails() == []
        assert "Nothing is left to do" in user.get(link).text
        assert "Nothing is left to do" in user.post(link).text
        assert zooms(world) == [new]


def test_following_the_link_alone_makes_nothing(begin: Begin, redis_url: str, prefix: str) -> None:
    """Mail scanners follow every link: only the button asks Cronofy."""
    with asked(begin, redis_url, prefix) as (world, hand), browser() as scanner:
        link, before = link_in(world), world.calls()

        for _ in range(3):
            assert scanner.get(link).status_code == 200
            scanner.head(link)

        assert world.calls() == before
        assert hand.done == []


def test_a_second_press_before_the_look_makes_no_second_profile(
    begin: Begin, redis_url: str, prefix: str
) -> None:
    """Cronofy is asked first whether the service is there meanwhile; if so, it is looked at."""
    with asked(begin, redis_url, prefix) as (world, _), browser() as user:
        link = link_in(world)
        away = user.post(link)
        back = connect_at(user, away.headers["location"])
        world.services.ledger.redis.delete(world.services.ledger.keys.asking(world.sub))

        again = user.post(link)

        assert "Nothing is left to do" in again.text
        assert "escalated" not in world.types()
        user.cookies.set("reconciler_connect", away.cookies["reconciler_connect"])
        user.get(back)
        wait_until(lambda: "reassigned" in world.types(), what="the look")
        assert world.control.event(world.calendar_id, "e1")["requested_profile_id"] == zooms(world)[0]


def test_at_most_one_address_at_a_time(begin: Begin, redis_url: str, prefix: str) -> None:
    """A user who presses again and again costs two calls, not many."""
    with asked(begin, redis_url, prefix) as (world, _), browser() as user:
        link = link_in(world)
        assert user.post(link).status_code == 303
        before = world.calls()

        assert user.post(link).status_code == 429
        assert world.calls() == before


def changed(link: str) -> str:
    return link[:-5] + ("AAAAA" if link[-5:] != "AAAAA" else "BBBBB")


def test_links_that_do_nothing(begin: Begin, redis_url: str, prefix: str) -> None:
    """Changed, old, or of an account that is lost: the page says so, and Cronofy is not asked."""
    with asked(begin, redis_url, prefix) as (world, _), browser() as user:
        link, before = link_in(world), world.calls()
        vault, now = world.services.ledger.vault, world.services.ledger.now()
        old = ConnectLinks(link.partition("/connect/")[0], vault, timedelta(0)).of(
            world.sub, "zoom", DANA, now - timedelta(days=7, seconds=1)
        )
        other = ConnectLinks(link.partition("/connect/")[0], vault, timedelta(0)).of(
            "acc_nobody", "zoom", DANA, now
        )
        for url, status, words in (
            (changed(link), 404, "This link does not work"),
            (old, 410, "This link is too old"),
            (other, 409, "Your calendar is not connected"),
        ):
            for answer in (user.get(url), user.post(url)):
                assert (answer.status_code, words in answer.text) == (status, True)
        assert world.calls() == before


@pytest.mark.parametrize(
    ("locale", "html", "asks", "thanks", "old"),
    [
        (
            "de-AT",
            '<html lang="de-AT" dir="ltr">',
            "Zoom verbinden",
            "Zoom ist verbunden",
            "Dieser Link ist zu alt",
        ),
        ("ar", '<html lang="ar" dir="rtl">', "ربط خدمة Zoom", "تم ربط خدمة Zoom", "هذا الرابط قديم جدًا"),
    ],
    ids=["from the left", "from the right"],
)
def test_the_pages_are_in_the_language_of_the_email(
    begin: Begin, redis_url: str, prefix: str, locale: str, html: str, asks: str, thanks: str, old: str
) -> None:
    """From its button to the thanks, and also where the link does nothing."""
    with asked(begin, redis_url, prefix, locale=locale) as (world, _), browser() as user:
        link = link_in(world)
        base, ledger = link.partition("/connect/")[0], world.services.ledger
        past = ledger.now() - timedelta(days=8)
        too_old = ConnectLinks(base, ledger.vault, timedelta(0)).of(
            world.sub, "zoom", Reader("dana@example.org", locale=locale), past
        )

        shown, away = user.get(link).text, user.post(link)
        user.cookies.set("reconciler_connect", away.cookies["reconciler_connect"])
        thanked = user.get(connect_at(user, away.headers["location"])).text

        for page, words in ((shown, asks), (thanked, thanks), (user.get(too_old).text, old)):
            assert html in page
            assert f"<title>{words}</title>" in page
            assert f"<h1>{words}</h1>" in page


def test_where_no_email_says_which_language_it_is_the_default(
    begin: Begin, redis_url: str, prefix: str
) -> None:
    """`RECONCILER_MAIL_LOCALE`: for a link that was changed, and for a browser that brings no cookie."""
    with asked(begin, redis_url, prefix, mail_locale="fr") as (world, _), browser() as user:
        link = link_in(world)
        for url, words in (
            (link, "Connecter Zoom"),
            (changed(link), "Ce lien ne fonctionne pas"),
            (link.partition("/connect/")[0] + "/connect/done", "Connexion établie"),
        ):
            page = user.get(url).text
            assert '<html lang="fr" dir="ltr">' in page
            assert f"<h1>{words}</h1>" in page


def test_a_refusal_at_cronofy_is_told_and_can_be_tried_again(
    begin: Begin, redis_url: str, prefix: str
) -> None:
    """Nothing is looked at, and the way back to the button is there."""
    with asked(begin, redis_url, prefix) as (world, hand), browser() as user:
        link = link_in(world)
        away = user.post(link)
        user.cookies.set("reconciler_connect", away.cookies["reconciler_connect"])

        shown = user.get(link.partition("/connect/")[0] + "/connect/done?error=access_denied")

        assert "Zoom was not connected" in shown.text
        assert "Try again" in shown.text
        hand.end()
        assert hand.done == ["conferencing.authorize_connection"]


@pytest.mark.parametrize("query", ["", "?theme=dark"])
def test_back_to_the_applications_own_page(begin: Begin, redis_url: str, prefix: str, query: str) -> None:
    """`RECONCILER_CONNECT_RETURN_URL` gets what Cronofy says, and nothing else that was in the address."""
    home = f"https://app.example/done{query}"
    with asked(begin, redis_url, prefix, connect_return_url=home) as (world, _), browser() as user:
        base = link_in(world).partition("/connect/")[0]

        back = user.get(f"{base}/connect/done?last_linked_profile_id=pro_9&next=//evil.example")

        assert back.headers["location"] == f"{home}{'&' if query else '?'}last_linked_profile_id=pro_9"


def test_without_a_worker_the_user_is_asked_to_try_again(
    begin: Begin, redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a bounded time; and nobody makes an address for a page that is gone."""
    monkeypatch.setattr("worker.web.connecting.connecting.ADDRESS", timedelta(seconds=1))
    with asked(begin, redis_url, prefix) as (world, hand), browser() as user:
        hand.end()
        link, before = link_in(world), world.calls()

        answer = user.post(link)
        assert (answer.status_code, "Please try again" in answer.text) == (503, True)
        assert world.calls() == before


def test_the_address_is_never_in_redis_in_clear(begin: Begin, redis_url: str, prefix: str) -> None:
    """What waits there for the page is sealed."""
    with asked(begin, redis_url, prefix) as (world, hand), browser() as user:
        link = link_in(world)
        hand.end()
        ledger = world.services.ledger
        until = to_ms(ledger.now() + timedelta(seconds=10))

        authorize_connection(world.services, world.sub, "zoom", "q1", until)
        seen: Any = ledger.redis.lrange(ledger.keys.answer("q1"), 0, -1)
        assert len(seen) == 1
        assert b"conferencing_services" not in seen[0]
        assert user.get(link).status_code == 200


PAGE = "https://app.example/reconnect?account={sub}"


def lose(world: World) -> None:
    """Cronofy refuses the account, as a look finds out."""
    world.control.revoke_refresh_token(world.sub)
    world.control.expire_access_token(world.sub)
    world.look("e1")


def test_the_user_of_a_lost_account_is_mailed_the_applications_page(begin: Begin) -> None:
    """The operator learns of it as ever; reminders wait for their time, and are not counted as waiting."""
    world = begin(reconnect_url=PAGE, relink_reminders="P1D,P3D")
    world.track("e1", hours=48)
    world.look("e1")

    lose(world)

    [outcome] = world.outcomes()
    assert (outcome["type"], outcome["cause"]) == ("account_lost", "account_unauthorized")
    ledger = world.services.ledger
    assert read_figures(ledger.redis, ledger.keys).mail_queued == 1
    [mail] = world.mails()
    assert mail.mail_id == outcome["detail"]["mail_id"]
    assert ("letter_written", "reconnect") in [line[1:] for line in world.stored().event.history]
    message = read_back(mail.message)
    assert recipient_of(message) == world.account["email"]
    assert f"https://app.example/reconnect?account={world.sub}" in part(message, "plain")
    world.services.outbox.sent(mail.mail_id)
    queued: Any = ledger.redis.zrange(ledger.keys.outbox, 0, -1, withscores=True)
    [(_, due)] = queued
    # The second reminder would come after the event.
    assert abs(due - to_ms(ledger.now() + timedelta(days=1))) < 10_000


def test_connecting_the_account_cancels_what_was_not_sent(begin: Begin) -> None:
    """The reminders, and the first email too if it is still there."""
    world = begin(reconnect_url=PAGE)
    world.track("e1", hours=200)
    world.look("e1")
    lose(world)
    ledger = world.services.ledger
    assert ledger.redis.zcard(ledger.keys.outbox) == 4

    world.control.authorize(world.sub)
    world.connect()

    assert ledger.redis.zcard(ledger.keys.outbox) == 0
    assert list(ledger.redis.scan_iter(ledger.keys.mail("*"))) == []


@pytest.mark.parametrize(
    "settings", [{}, {"reconnect_url": PAGE, "dry_run": True}], ids=["no page", "dry run"]
)
def test_nobody_is_mailed_about_a_lost_account(begin: Begin, settings: dict[str, Any]) -> None:
    """The outcome is all there is."""
    world = begin(**settings)
    world.track("e1")
    world.look("e1")

    lose(world)

    assert (world.types(), world.mails()) == (["account_lost"], [])
