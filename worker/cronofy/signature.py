"""The signature of Cronofy's push notifications (reference §6c)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable


def signature_of(body: bytes, secret: str) -> str:
    """The value of ``Cronofy-HMAC-SHA256`` for one client secret."""
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()


def is_signed(body: bytes, header: str, secrets: Iterable[str]) -> bool:
    """Whether any value in the header signs these raw bytes with any of our secrets.

    Cronofy sends one value per active secret, separated by commas, with or without spaces. All pairs are
    compared, each in constant time.
    """
    values = [value.strip().encode(errors="replace") for value in header.split(",")]
    wanted = [signature_of(body, secret).encode() for secret in secrets]
    matches = [hmac.compare_digest(value, want) for value in values for want in wanted]
    return any(matches)
