"""How the application says its users read: `locale` and `tzid` of `connect_account`."""

from __future__ import annotations

from email.message import EmailMessage
from typing import Any

import pytest

from tests.integration.world import Begin, World
from tests.unit.emails import part
from tests.waiting import wait_until
from worker.intake import accept
from worker.intake.payloads import BadPayload, ConnectAccount, parse
from worker.mail.compose import read_back


def connect(world: World, **given: Any) -> None:
    """Connect the account again, with what the application says of its user."""
    tokens = {name: world.account[name] for name in ("refresh_token", "access_token")}
    accept.connect_account(world.services, ConnectAccount(sub=world.sub, **tokens, **given))


def asked(world: World) -> EmailMessage:
    """The letter that asks the user to connect a profile again."""
    world.track()
    world.control.disconnect_profile(world.sub, world.profiles[0])
    world.look()
    [mail] = world.mails()
    return read_back(mail.message)


def test_a_letter_is_in_the_language_and_zone_that_the_application_gave(begin: Begin) -> None:
    """Also after the account was connected again without them."""
    world = begin()
    connect(world, locale="de", tzid="Asia/Tokyo", name="Dana")
    connect(world)

    letter = asked(world)
    assert letter["Subject"] == "Zoom erneut verbinden: ein bevorstehender Termin hat noch keinen Link"
    assert "Guten Tag Dana," in part(letter, "plain")
    assert "(Japanische Normalzeit)" in part(letter, "plain")


def test_without_them_the_default_counts(begin: Begin) -> None:
    """`RECONCILER_MAIL_LOCALE`, and each meeting's own zone."""
    letter = asked(begin(mail_locale="fr"))
    assert letter["Subject"] == "Reconnecter Zoom : une réunion à venir n’a pas encore de lien"


def test_a_release_that_knows_neither_keeps_them(begin: Begin) -> None:
    """It writes the user's address and name without them, and they are fields of their own."""
    world = begin()
    connect(world, locale="de", tzid="Asia/Tokyo")
    ledger = world.services.ledger
    key = ledger.keys.account(world.sub)
    ledger.redis.hset(key, "profile", b"\x82\xa5email\xa1a\xa4name\xa1b")

    account = ledger.account(world.sub)
    assert (account.name, account.locale, account.tzid) == ("b", "de", "Asia/Tokyo")
    assert account.unreadable == ()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"locale": "German"}, "locale: must be a language tag such as de or pt-BR"),
        ({"locale": "de/../x"}, "locale: must be a language tag such as de or pt-BR"),
        ({"tzid": "Mars/Olympus"}, "tzid: must be the name of a time zone such as Europe/Paris"),
    ],
)
def test_what_names_no_language_or_zone_is_refused(given: dict[str, str], told: str) -> None:
    """The sentence says which, and repeats no value."""
    with pytest.raises(BadPayload) as refused:
        parse(ConnectAccount, (), {"sub": "acc", "refresh_token": "r", **given})

    assert told in str(refused.value)
    assert not any(value in str(refused.value) for value in given.values())


def test_a_reminder_stands_below_the_first_letter(begin: Begin) -> None:
    """It refers to the first one's Message-ID, which is the same however often that is sent."""
    world = begin(relink_reminders="1")
    first = asked(world)
    later: list[bytes] = []

    def reminded() -> bool:
        world.look()
        later.extend(mail.message for mail in world.mails())
        return bool(later)

    wait_until(reminded)
    reminder = read_back(later[0])
    assert str(reminder["Subject"]).startswith("Reminder: ")
    assert reminder["References"] == reminder["In-Reply-To"] == first["Message-ID"]
    assert first["References"] is None
    assert first["List-Id"] == reminder["List-Id"] == "Acme Hiring <meeting-links.localhost>"
