"""Who authorised the application: accounts, their tokens and profiles."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from sandbox.options import SandboxOptions
from sandbox.world.accounts import Account, Calendar, CalendarProfile, ConferencingProfile


class Unknown(LookupError):
    """No such account, profile, calendar, event or channel."""


class Registry:
    """Accounts by their `sub`, their tokens and their relink URLs."""

    def __init__(self, options: Callable[[], SandboxOptions], clock: Callable[[], datetime]) -> None:
        self._options = options
        self._clock = clock
        self._accounts: dict[str, Account] = {}
        #: By access token: its account, and when it expires.
        self._tokens: dict[str, tuple[str, datetime]] = {}
        self._refresh_tokens: dict[str, str] = {}
        #: By authorization code: its account and the redirect address.
        self._codes: dict[str, tuple[str, str]] = {}
        #: By calendar: its account.
        self._calendars: dict[str, str] = {}

    def add_account(self, account: Account) -> Account:
        """Add the account, or replace the one with the same `sub`; its tokens work from now on.

        Raises ValueError when another account has a calendar with the same id.
        """
        for profile in account.profiles():
            self._claim(account.sub, profile)
        self._accounts[account.sub] = account
        self._grant(account)
        return account

    def accounts(self) -> list[Account]:
        return list(self._accounts.values())

    def account(self, sub: str) -> Account:
        """Return the account, or raise `Unknown`."""
        if sub not in self._accounts:
            raise Unknown(f"account {sub}")
        return self._accounts[sub]

    def bearer(self, access_token: str) -> Account | None:
        """Return the account of an access token; None if it is unknown or expired."""
        sub, expires = self._tokens.get(access_token, ("", self._clock()))
        return self._accounts.get(sub) if expires > self._clock() else None

    def refresher(self, refresh_token: object) -> Account | None:
        """Return the account of a refresh token; None if it is unknown or revoked."""
        return self._accounts.get(self._refresh_tokens.get(str(refresh_token), ""))

    def refresh(self, account: Account) -> None:
        """Give the account a new access token; older ones stay valid until they expire (§7)."""
        account.access_token = secrets.token_hex(16)
        if self._options().personality.rotate_refresh_tokens == "yes":
            self._refresh_tokens.pop(account.refresh_token or "", None)
            account.refresh_token = secrets.token_hex(16)
        self._grant(account)

    def authorize(self, sub: str) -> Account:
        """The person authorises the application again: fresh tokens, also after a revocation."""
        account = self.account(sub)
        account.access_token, account.refresh_token = secrets.token_hex(16), secrets.token_hex(16)
        self._grant(account)
        return account

    def expire_access_tokens(self, sub: str) -> None:
        for token in [t for t, (owner, _) in self._tokens.items() if owner == self.account(sub).sub]:
            del self._tokens[token]

    def revoke_refresh_token(self, sub: str) -> None:
        """Revoke the account's refresh token; access tokens stay valid until they expire."""
        account = self.account(sub)
        self._refresh_tokens.pop(account.refresh_token or "", None)
        account.refresh_token = None

    def add_calendar(self, account: Account, profile: CalendarProfile, calendar: Calendar) -> None:
        self._calendars[calendar.calendar_id] = account.sub
        profile.calendars.append(calendar)

    def code(self, sub: str, redirect_uri: str) -> str:
        """Return a code that the application can exchange, once, with the same address, for tokens (§7)."""
        code = secrets.token_urlsafe(18)
        self._codes[code] = (self.account(sub).sub, redirect_uri)
        return code

    def redeem(self, code: object, redirect_uri: object) -> Account | None:
        """Return a code's account, with fresh tokens; None if it is unknown, used or for another address."""
        sub, address = self._codes.pop(str(code), ("", ""))
        return self.authorize(sub) if sub in self._accounts and address == redirect_uri else None

    def _claim(self, sub: str, profile: CalendarProfile | ConferencingProfile) -> None:
        for calendar in profile.calendars if isinstance(profile, CalendarProfile) else ():
            owner = self._calendars.setdefault(calendar.calendar_id, sub)
            if owner != sub:
                raise ValueError(f"calendar {calendar.calendar_id} belongs to {owner}")

    def _grant(self, account: Account) -> None:
        expires = self._clock() + timedelta(seconds=self._options().token_seconds)
        self._tokens[account.access_token] = (account.sub, expires)
        if account.refresh_token:
            self._refresh_tokens[account.refresh_token] = account.sub

    def add_profile(self, sub: str, profile: CalendarProfile | ConferencingProfile) -> None:
        account = self.account(sub)
        self._claim(sub, profile)
        if isinstance(profile, CalendarProfile):
            account.calendar_profiles.append(profile)
        else:
            account.conferencing_profiles.append(profile)

    def profile(self, sub: str, profile_id: str) -> CalendarProfile | ConferencingProfile:
        """Return the profile, calendar or conferencing, or raise `Unknown`."""
        profile = self.account(sub).profile(profile_id)
        if profile is None:
            raise Unknown(f"profile {profile_id}")
        return profile

    def set_connected(self, sub: str, profile_id: str, connected: bool) -> None:
        """Disconnect or reconnect a profile; it keeps its id (§3)."""
        profile = self.profile(sub, profile_id)
        profile.connected, profile.disconnection_notified = connected, False

    def remove_profile(self, sub: str, profile_id: str) -> None:
        account = self.account(sub)
        gone = self.profile(sub, profile_id)
        if isinstance(gone, ConferencingProfile):
            account.conferencing_profiles.remove(gone)
            account.removed_profiles.append(profile_id)
        else:
            account.calendar_profiles.remove(gone)

    def relinked(self, token: str) -> tuple[Account, CalendarProfile | ConferencingProfile]:
        """Return the account and profile of a relink URL, or raise `Unknown`."""
        for account in self.accounts():
            for profile in account.profiles():
                if profile.relink_token == token:
                    return account, profile
        raise Unknown("relink token")
