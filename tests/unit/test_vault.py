"""The vault: what opens where, and what earlier releases make of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.fernet import Fernet, MultiFernet

from worker.ledger.vault import Fit, Vault, VaultError

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))
PLACE = ("credentials", "acc_1")


@pytest.mark.parametrize(
    "place",
    [("credentials", "acc_2"), ("mail", "acc_1"), ("credentials",), ("credentials", "acc_1", ""), ()],
)
def test_what_is_sealed_opens_only_in_its_place(place: tuple[str, ...]) -> None:
    """Whoever can write to Redis cannot give one account's tokens to another."""
    vault = Vault([NEW])
    sealed = vault.seal(b"token", *PLACE)

    assert vault.open(sealed, *PLACE) == b"token"
    with pytest.raises(VaultError, match="not where it was sealed"):
        vault.open(sealed, *place)
    assert (vault.fit(sealed, *PLACE), vault.fit(sealed, *place)) == (Fit.CURRENT, Fit.SHUT)


def test_an_earlier_release_opens_what_is_bound() -> None:
    """It knows no place and ignores the mark, so both may work on one ledger."""
    sealed = Vault([OLD]).seal(b"token", *PLACE)

    assert MultiFernet([Fernet(NEW), Fernet(OLD)]).decrypt(sealed) == b"token"


@pytest.mark.parametrize("at", [datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)])
def test_what_an_earlier_release_sealed_opens(at: datetime) -> None:
    """In any place, until it is resealed."""
    sealed = Fernet(OLD).encrypt_at_time(b"token", int(at.timestamp()))

    assert Vault([NEW, OLD]).open(sealed, *PLACE) == b"token"
    assert Vault([OLD]).fit(sealed, *PLACE) is Fit.UNBOUND
    assert Vault([NEW, OLD]).fit(sealed, *PLACE) is Fit.OLDER
    assert Vault([NEW]).fit(sealed, *PLACE) is Fit.SHUT


def test_a_mark_says_nothing_without_the_key() -> None:
    """The same place has another mark under another key, and the same one each time under one."""
    marks = [Fernet(key).extract_timestamp(Vault([key]).seal(b"x", *PLACE)) for key in (OLD, OLD, NEW)]

    assert marks[0] == marks[1] != marks[2]


def test_a_mark_cannot_be_changed() -> None:
    """It is signed with the rest."""
    here, there = (Vault([NEW]).seal(b"x", "mail", mail_id) for mail_id in ("m1", "m2"))

    with pytest.raises(VaultError, match="RECONCILER_VAULT_KEYS"):
        Vault([NEW]).open(there[:12] + here[12:], "mail", "m2")
