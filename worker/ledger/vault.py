"""The vault: encrypts secrets before they reach Redis (Fernet, with rotatable keys)."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESSIV


class VaultError(Exception):
    """A sealed value cannot be opened with any vault key that is set; `permanent` until one fits."""

    permanent = True
    retry_after = None


class Vault:
    """Seals with the newest key and opens with any of them."""

    def __init__(self, keys: Sequence[str]) -> None:
        """`keys`: Fernet keys, newest first (``RECONCILER_VAULT_KEYS``)."""
        self._fernet = MultiFernet([Fernet(key) for key in keys])
        # A second use needs its own key, derived from the same secret.
        self._namers = [AESSIV(hmac.digest(key.encode(), b"names in addresses", "sha256")) for key in keys]

    def seal(self, plain: bytes) -> bytes:
        """Encrypt and sign."""
        return self._fernet.encrypt(plain)

    def open(self, sealed: bytes) -> bytes:
        """Decrypt; raises VaultError if no key fits."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            raise VaultError(
                "A stored secret cannot be read with any key in RECONCILER_VAULT_KEYS: "
                "put back the key that was in use when it was stored."
            ) from None

    def seal_name(self, plain: bytes) -> bytes:
        """Encrypt and sign what goes into a URL: short, and always the same (AES-SIV)."""
        return self._namers[0].encrypt(plain, None)

    def open_name(self, sealed: bytes) -> bytes | None:
        """Open what `seal_name` sealed; None if no key fits."""
        for namer in self._namers:
            try:
                return namer.decrypt(sealed, None)
            except (InvalidTag, ValueError):
                continue
        return None
