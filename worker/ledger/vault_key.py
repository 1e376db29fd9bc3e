"""One vault key, and all that is done with it by `cryptography`."""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.ciphers.aead import AESSIV


class VaultKey:
    """A Fernet key, and the keys derived from it: each use needs its own."""

    def __init__(self, key: str) -> None:
        self._secret = key.encode()
        self._fernet = Fernet(key)
        self._namer = AESSIV(self._derived(b"names in addresses"))
        self._marks = self._derived(b"places of sealed values")

    def _derived(self, use: bytes) -> bytes:
        return hmac.digest(self._secret, use, "sha256")

    def hash_of(self, place: Sequence[str]) -> int:
        """A keyed hash of a place, in 64 bits."""
        named = json.dumps(list(place)).encode()
        return int.from_bytes(hmac.digest(self._marks, named, "sha256")[:8])

    def seal(self, plain: bytes, mark: int) -> bytes:
        """Encrypt with this mark in place of a time."""
        return self._fernet.encrypt_at_time(plain, mark)

    def open(self, sealed: bytes) -> bytes:
        """Decrypt what this key sealed, whatever the place."""
        return self._fernet.decrypt(sealed)

    def mark_of(self, sealed: bytes) -> int | None:
        """The mark or time that was sealed with it, without decrypting; None if the key does not fit."""
        try:
            return self._fernet.extract_timestamp(sealed)
        except InvalidToken:
            return None

    def seal_name(self, plain: bytes) -> bytes:
        return self._namer.encrypt(plain, None)

    def open_name(self, sealed: bytes) -> bytes | None:
        try:
            return self._namer.decrypt(sealed, None)
        except (InvalidTag, ValueError):
            return None
