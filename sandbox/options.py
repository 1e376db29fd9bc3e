"""What can be set on the sandbox, at its start or while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

AfterFailure = Literal["pending", "absent"]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SandboxOptions:
    """The sandbox's settings; an unknown name or a wrong type raises `pydantic.ValidationError`.

    They are replaced as a whole by the control plane (`POST /sandbox/settings`), never changed in place.
    """

    #: The OAuth client that `/oauth/token` accepts.
    client_id: str = "sandbox-client"
    #: Active client secrets, newest first. Notifications carry one signature for each (§6c).
    client_secrets: Sequence[str] = ("sandbox-secret",)
    #: The origin of the pages that people open; the sandbox's own when empty.
    public_url: str = ""
    #: Where received mail is also written as .eml files.
    mail_dir: Path | None = None
    #: Life of an access token (§7).
    token_seconds: float = 3600.0
    #: Give a new refresh token at each refresh. Cronofy's documentation echoes the old one (§7).
    rotate_refresh_tokens: bool = False

    #: Rate limits of the application over any sliding second and minute (§8); 0 switches one off.
    per_second: int = Field(default=50, ge=0)
    per_minute: int = Field(default=500, ge=0)
    #: Whether a batch counts as its items or as one call: Cronofy does not say.
    batch_cost: Literal["items", "call"] = "items"
    #: What a 429 says in Retry-After: Cronofy does not say (§8).
    retry_after: Literal["none", "seconds", "date"] = "none"
    #: Events on a page of Read Events (§2).
    page_size: int = Field(default=100, ge=1)

    #: From the write to the first attempt at a conference, and from a failed attempt to the next.
    generation_seconds: float = Field(default=2.0, ge=0)
    retry_seconds: float = Field(default=30.0, gt=0)
    #: From a 202 until the write shows in a read (§4: a 202 is no proof of a write).
    visibility_seconds: float = Field(default=0.0, ge=0)
    #: The three delays above are divided by it.
    speed: float = Field(default=1.0, gt=0)
    #: What a read shows after a failure that is final: Cronofy does not say (§3).
    after_failure: AfterFailure = "pending"

    #: How `notification.interactions` is written in callbacks: an array is the best guess (§6a).
    interactions: Literal["array", "object"] = "array"
    #: Deliveries tried for one notification, the first included.
    notify_attempts: int = Field(default=3, ge=1)
    #: Extra copies of each notification; nothing promises that one comes once (§6c).
    notify_duplicates: int = Field(default=0, ge=0)
    #: Delay before a notification is sent; with `notify_reorder`, of every other one only.
    notify_delay_seconds: float = Field(default=0.0, ge=0)
    notify_reorder: bool = False
    #: The share of notifications, 0 to 1, that are never sent.
    notify_loss: float = Field(default=0.0, ge=0, le=1)
