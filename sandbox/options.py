"""The sandbox's options, at its start or while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from sandbox.personality import Personality


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SandboxOptions:
    """The sandbox's settings; an unknown name or a wrong type raises `pydantic.ValidationError`.

    The control plane replaces them as a whole (`POST /sandbox/settings`); they are never changed in place.
    """

    #: The OAuth client that `/oauth/token` accepts.
    client_id: str = "sandbox-client"
    #: Active client secrets, newest first. Notifications carry one signature per secret (§6c).
    client_secrets: Sequence[str] = ("sandbox-secret",)
    #: The origin of the pages that people open; the sandbox's own if empty.
    public_url: str = ""
    #: Where received emails are also written as .eml files.
    mail_dir: Path | None = None
    #: Lifetime of an access token (§7).
    token_seconds: float = 3600.0
    #: What Cronofy's documentation leaves open.
    personality: Personality = Field(default_factory=Personality)

    #: Rate limits of the application over any sliding second and minute (§8); 0 switches one off.
    per_second: int = Field(default=50, ge=0)
    per_minute: int = Field(default=500, ge=0)
    #: Events per page of Read Events (§2).
    page_size: int = Field(default=100, ge=1)
    #: What all events of a read have in place of their own fields, such as a `created` in the year 0 (§2).
    event_fields: Mapping[str, Any] = Field(default_factory=dict)

    #: From the write to the first attempt at a conference, and between attempts.
    generation_seconds: float = Field(default=2.0, ge=0)
    retry_seconds: float = Field(default=30.0, gt=0)
    #: From a 202 until a read shows the write (§4: a 202 does not prove a write).
    visibility_seconds: float = Field(default=0.0, ge=0)
    #: Divides the three delays above.
    speed: float = Field(default=1.0, gt=0)

    #: Delivery attempts per notification, including the first.
    notify_attempts: int = Field(default=3, ge=1)
    #: Extra copies of each notification; nothing guarantees a single delivery (§6c).
    notify_duplicates: int = Field(default=0, ge=0)
    #: Delay before a notification is sent; with `notify_reorder`, only of every other one.
    notify_delay_seconds: float = Field(default=0.0, ge=0)
    notify_reorder: bool = False
    #: The share of notifications, 0 to 1, that is never sent.
    notify_loss: float = Field(default=0.0, ge=0, le=1)
