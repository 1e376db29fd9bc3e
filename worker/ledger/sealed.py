"""The places that the vault's values are sealed for."""

from __future__ import annotations


def place_of_credentials(sub: str) -> tuple[str, ...]:
    """An account's tokens."""
    return "credentials", sub


def place_of_mail(mail_id: str, sub: str) -> tuple[str, ...]:
    """An email in the outbox: with it, its relink address belongs to this account."""
    return "mail", mail_id, sub


def place_of_parts(mail_id: str, sub: str) -> tuple[str, ...]:
    """What an email in the outbox was composed of."""
    return "parts", mail_id, sub


def place_of_kept_key(name: str) -> tuple[str, ...]:
    """One of the ledger's own keys."""
    return "about", name


def place_in_letter(task: str, part: str) -> tuple[str, ...]:
    """A part of a dead letter ("kwargs", "traceback" or "record"): it can be replayed only to this task."""
    return "letter", task, part
