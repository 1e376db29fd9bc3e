"""Cronofy's callback addresses, and what their keys reveal."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet

from worker.cronofy.callbacks import PATH, Callbacks, Callee, account_of, callback_path, read_callback_key
from worker.ledger.vault import Vault

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))
VAULT = Vault([NEW, OLD])
STRANGERS = Vault([Fernet.generate_key().decode()])
SUB = "acc_5ba21743f408617d1269ea1e"
EVENT = ("cal_n23kjnwrw2_jsdfjksn234", "booking-77")


def key_of(address: str) -> str:
    """The last part of an address."""
    return address.rpartition("/")[2]


@pytest.mark.parametrize(
    "ids", [(SUB,), (SUB, *EVENT), ("Zoë/…", "a b", "%2F?#")], ids=["account", "event", "odd"]
)
def test_a_key_contains_its_account_and_event(ids: tuple[str, ...]) -> None:
    """The key shows nothing of it, and needs no escaping in a path."""
    path = callback_path(VAULT, *ids)
    key = key_of(path)
    assert path == f"{PATH}/{key}"
    assert read_callback_key(VAULT, key) == Callee(*ids)
    assert key.replace("-", "").replace("_", "").isalnum()
    assert not any(each in path for each in ids)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("", id="empty"),
        pytest.param("abc", id="short"),
        pytest.param("%%%%", id="no base64"),
        pytest.param("ä" * 40, id="no ASCII"),
        pytest.param("A" * 64, id="forged"),
        pytest.param(key_of(callback_path(VAULT, SUB))[:-4] + "AAAA", id="changed"),
        pytest.param(key_of(callback_path(STRANGERS, SUB)), id="of another vault"),
    ],
)
def test_a_foreign_key_names_nobody(key: str) -> None:
    """Any text may arrive; none is an error."""
    assert read_callback_key(VAULT, key) is None


def test_a_key_outlives_a_rotation_of_the_vault_keys() -> None:
    """It can be read while its vault key is listed."""
    key = key_of(callback_path(Vault([OLD]), SUB))
    assert read_callback_key(VAULT, key) == Callee(SUB)
    assert read_callback_key(Vault([NEW]), key) is None


@pytest.mark.parametrize(
    ("url", "begins"),
    [
        pytest.param("https://hooks.example.com", "https://hooks.example.com", id="origin"),
        pytest.param("https://hooks.example.com/", "https://hooks.example.com", id="with a slash"),
        pytest.param("https://example.com/reconciler", "https://example.com/reconciler", id="below a path"),
        pytest.param(f"https://example.com/x{PATH}", "https://example.com/x", id="the whole address"),
        pytest.param(f"https://example.com{PATH}/", "https://example.com", id="the whole, with a slash"),
    ],
)
def test_addresses_are_below_the_public_url(url: str, begins: str) -> None:
    """However an operator writes it."""
    callbacks = Callbacks(url, VAULT)
    address = callbacks.of(SUB)
    assert address == begins + callback_path(VAULT, SUB)
    assert callbacks.leads_here(address)
    assert account_of(VAULT, address) == SUB
    assert len(address) <= 128  # older documentation allows no more (reference §6b)


@pytest.mark.parametrize(
    ("address", "here", "sub"),
    [
        pytest.param(f"https://former.example.com{callback_path(VAULT, SUB)}", False, SUB, id="former URL"),
        pytest.param(f"https://hooks.example.com{PATH}/x", True, None, id="unknown key"),
        pytest.param("https://hooks.example.com/other", False, None, id="another path"),
        pytest.param("https://hooks.example.com.evil.example/", False, None, id="a longer host"),
        pytest.param("", False, None, id="none"),
    ],
)
def test_addresses_are_recognised(address: str, here: bool, sub: str | None) -> None:
    """By the public URL and the key."""
    callbacks = Callbacks("https://hooks.example.com", VAULT)
    assert (callbacks.leads_here(address), account_of(VAULT, address)) == (here, sub)
