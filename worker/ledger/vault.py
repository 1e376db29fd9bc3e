"""The vault: what is secret is encrypted before it reaches Redis (Fernet, with rotatable keys)."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet


class VaultError(Exception):
    """A sealed value cannot be opened with the vault keys that are set; `permanent` until they are."""

    permanent = True
    retry_after = None


class Vault:
    """Seals with the newest key and opens with any of them."""

    def __init__(self, keys: Sequence[str]) -> None:
        """`keys`: Fernet keys, newest first (``RECONCILER_VAULT_KEYS``)."""
        self._fernet = MultiFernet([Fernet(key) for key in keys])

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
