"""Our own links to connect a service: they name an account and a service, and nobody else can make one.

What Cronofy asks a user at is a secret of a few minutes, so an email cannot have it: it has one of these,
and `reconciler serve` gets the other when the user follows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgpack

from worker.ledger.records import from_ms, to_ms
from worker.ledger.vault import Vault, VaultError
from worker.mail.letters import Reader

#: Where `reconciler serve` has the page.
PATH = "/connect"
#: Where Cronofy sends the user afterwards.
DONE = f"{PATH}/done"
#: A link is good for this much longer than the last reminder is away.
LONGER = timedelta(days=7)
_PLACE = "connect link"


@dataclass(frozen=True, slots=True)
class ConnectLink:
    """What a link says."""

    sub: str
    provider_name: str
    #: Where the email with it went: whose connection it is about.
    address: str
    #: The language of that email, for the page; None for the default.
    locale: str | None
    until: datetime


@dataclass(frozen=True, slots=True)
class ConnectLinks:
    """Makes links below one public URL."""

    #: The public URL of `reconciler serve`, without a path of its own.
    origin: str
    vault: Vault
    #: Until the last reminder.
    lasting: timedelta

    def of(self, sub: str, provider_name: str, reader: Reader, now: datetime) -> str:
        """The link for this account and service in an email to `reader`, made now."""
        until = to_ms(now + self.lasting + LONGER)
        said = msgpack.packb([sub, provider_name, reader.address, reader.locale, until])
        token = self.vault.seal(said, _PLACE)
        # Without its padding: mail programs may leave that out of a link.
        return f"{self.origin}{PATH}/{token.decode().rstrip('=')}"


def read_link(vault: Vault, token: str) -> ConnectLink | None:
    """What a link's last part says; None if we did not make it, or no vault key opens it any more."""
    padded = token + "=" * (-len(token) % 4)
    try:
        sub, provider_name, address, locale, until = msgpack.unpackb(vault.open(padded.encode(), _PLACE))
    except (VaultError, ValueError, TypeError):
        return None
    return ConnectLink(sub, provider_name, address, locale, from_ms(until))
