"""The vault: what is secret is encrypted before it reaches Redis (Fernet, with rotatable keys)."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESSIV


class VaultError(Exception):
    """A sealed value cannot be opened with the vault keys that are set; `permanent` until they are."""

    permanent = True
    retry_after = None


class Vault:
    """Seals with the newest key and opens with any of them."""

    def __init__(self, keys: Sequence[str]) -> None:
        """`keys`: Fernet keys, newest first (``RECONCILER_VAULT_KEYS``)."""
        self._fernet = MultiFernet([Fernet(key) for key in keys])
        # Another key for another use, made from the same secret.
        self._namers = [AESSIV(hmac.digest(key.encode(), b"names in addresses", "sha256")) for key in keys]

    def seal(self, plain: bytes) -> bytes:
        """Encrypt and sign."""
        return self._fernet.encrypt(plain)

    def open(self, sealed: bytes) -> bytes:
        """The plain bytes; VaultError where no key fits."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            raise VaultError(
                "A stored secret cannot be read with any key of RECONCILER_VAULT_KEYS: "
                "put back the key that was in use when it was stored."
            ) from None

    def seal_name(self, plain: bytes) -> bytes:
        """Encrypt and sign what goes into an address: short, and the same each time (AES-SIV)."""
        return self._namers[0].encrypt(plain, None)

    def open_name(self, sealed: bytes) -> bytes | None:
        """What `seal_name` sealed, with any of the keys; None where no key fits."""
        for namer in self._namers:
            try:
                return namer.decrypt(sealed, None)
            except (InvalidTag, ValueError):
                continue
        return None
