"""Accounts and their profiles, and how Cronofy describes them in UserInfo."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from sandbox.personality import Personality


def new_id(prefix: str) -> Callable[[], str]:
    """Return a function that makes fresh ids such as `cal_1f2e…`."""
    return lambda: f"{prefix}_{secrets.token_hex(8)}"


class _Model(BaseModel):
    # A typo in a test's account fields must fail.
    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class Calendar(_Model):
    """One calendar of a calendar profile (§5, `profile_calendars`)."""

    calendar_id: str = Field(default_factory=new_id("cal"))
    name: str = "Work"
    readonly: bool = False
    deleted: bool = False
    primary: bool = True
    integrated_conferencing_available: bool = True
    permission_level: Literal["sandbox", "unrestricted"] = "sandbox"

    def described(self) -> dict[str, Any]:
        """Return the calendar with Cronofy's field names."""
        return {
            "calendar_id": self.calendar_id,
            "calendar_name": self.name,
            "calendar_readonly": self.readonly,
            "calendar_deleted": self.deleted,
            "calendar_primary": self.primary,
            "calendar_integrated_conferencing_available": self.integrated_conferencing_available,
            "calendar_attachments_available": False,
            "permission_level": self.permission_level,
        }


class _Profile(_Model):
    """What calendar and conferencing profiles have in common."""

    #: The page on which people connect it again (§5).
    RELINK: ClassVar[str] = "relink"

    profile_id: str = Field(default_factory=new_id("pro"))
    provider_name: str
    #: Shown to people; the account's email by default. Several profiles may share it (§5).
    profile_name: str = ""
    connected: bool = True
    #: Whether channels were notified of this disconnection.
    disconnection_notified: bool = False
    #: The secret part of the relink URL: whoever has the URL can reconnect.
    relink_token: str = Field(default_factory=lambda: secrets.token_urlsafe(18))

    def described(self, email: str, public_url: str) -> dict[str, Any]:
        """Return the profile with Cronofy's field names; the relink URL only while disconnected (§5)."""
        fields: dict[str, Any] = {
            "provider_name": self.provider_name,
            "profile_id": self.profile_id,
            "profile_name": self.profile_name or email,
            "profile_connected": self.connected,
        }
        if not self.connected:
            fields["profile_relink_url"] = (
                f"{public_url}/{self.RELINK}/{quote(self.provider_name, safe='')}"
                f"?email={quote(email, safe='')}&token={self.relink_token}"
            )
        return fields


class CalendarProfile(_Profile):
    """A connected calendar service with its calendars."""

    provider_name: str = "google"
    provider_service: str = "gsuite"
    calendars: list[Calendar] = Field(default_factory=lambda: [Calendar()])

    def described(self, email: str, public_url: str) -> dict[str, Any]:
        """Return the profile as `GET /v1/profiles` lists it."""
        return {"provider_service": self.provider_service, **super().described(email, public_url)}


class ConferencingProfile(_Profile):
    """A connected conferencing service, such as a person's Zoom."""

    RELINK = "v2/relink"
    provider_name: str = "zoom"
    #: The provider accepts the request but returns no URL, as without a licence (§3).
    missing_meeting_url: bool = False


class Account(_Model):
    """One authorisation of the application, by a person or an organisation (`service_account`)."""

    sub: str = Field(default_factory=new_id("acc"))
    type: Literal["account", "service_account"] = "account"
    email: str = "dana@example.org"
    name: str = "Dana Example"
    zoneinfo: str = "Etc/UTC"
    #: Space-separated; may be composite (`read_write`), as UserInfo gives it (§1).
    scope: str = "read_write"
    #: The profile that `default` means; the calendar's integrated service if not given (§3).
    default_profile: str | None = None
    #: The calendar's integrated service returns no URL, as without a licence (§3).
    missing_meeting_url: bool = False
    calendar_profiles: list[CalendarProfile] = Field(default_factory=lambda: [CalendarProfile()])
    conferencing_profiles: list[ConferencingProfile] = Field(default_factory=list)
    #: Ids of conferencing profiles that were removed.
    removed_profiles: list[str] = Field(default_factory=list)
    access_token: str = Field(default_factory=lambda: secrets.token_hex(16))
    #: None once revoked: a refresh then gets `invalid_grant`.
    refresh_token: str | None = Field(default_factory=lambda: secrets.token_hex(16))

    def profiles(self) -> Iterator[CalendarProfile | ConferencingProfile]:
        yield from self.calendar_profiles
        yield from self.conferencing_profiles

    def profile(self, profile_id: str) -> CalendarProfile | ConferencingProfile | None:
        return next((p for p in self.profiles() if p.profile_id == profile_id), None)

    def conferencing_profile(self, profile_id: str) -> ConferencingProfile | None:
        return next((p for p in self.conferencing_profiles if p.profile_id == profile_id), None)

    def calendar_ids(self) -> list[str]:
        return [c.calendar_id for p in self.calendar_profiles for c in p.calendars]

    def calendar(self, calendar_id: str) -> tuple[CalendarProfile, Calendar] | None:
        pairs = ((profile, each) for profile in self.calendar_profiles for each in profile.calendars)
        return next((pair for pair in pairs if pair[1].calendar_id == calendar_id), None)

    def allows(self, scope: str) -> bool:
        """Tell whether the granted scope, which may be composite, covers `scope` (§1)."""
        granted = set(self.scope.split())
        writes = {"create_event", "delete_event", "create_calendar", "list_calendars", "read_account"}
        may_write = bool(granted & {"write_only", "free_busy_write"})
        return "read_write" in granted or scope in granted or (may_write and scope in writes)


def userinfo(account: Account, public_url: str, personality: Personality) -> dict[str, Any]:
    """Return the body of `GET /v1/userinfo` (§5); relink URLs begin with `public_url`."""
    authorization = {"scope": account.scope, "status": "active"}
    body: dict[str, Any] = {"sub": account.sub, "cronofy.type": account.type}
    if account.type == "service_account":
        # No profiles: an organisation has those only through its people's accounts (§5).
        domain = account.email.rpartition("@")[2]
        if personality.service_account == "flat":
            return {**body, "cronofy.service_account.domain": domain}
        granted = {
            "authorization": {**authorization, "delegated_scope": account.scope},
            "service_account": {"provider_name": "google", "domain": domain},
        }
        return {**body, "email": account.email, "cronofy.data": granted}
    data: dict[str, Any] = {
        "authorization": authorization,
        "profiles": [
            {
                **profile.described(account.email, public_url),
                "profile_initial_sync_required": False,
                "profile_calendars": [c.described() for c in profile.calendars],
            }
            for profile in account.calendar_profiles
        ],
    }
    if account.conferencing_profiles or account.removed_profiles:
        # Absent where conferencing was never authorised (§5).
        data["conferencing_profiles"] = [
            p.described(account.email, public_url) for p in account.conferencing_profiles
        ]
    return {
        **body,
        "email": account.email,
        "name": account.name,
        "zoneinfo": account.zoneinfo,
        "cronofy.data": data,
    }
