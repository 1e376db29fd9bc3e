"""Which relink URLs may be emailed to a user.

The URL comes from an API's answer and goes behind a button that asks a person to sign in, so it must lead
where the operator expects (contract §4, `RECONCILER_RELINK_HOSTS`). Anyone who has it can relink the account,
so it is a secret, and no refusal repeats it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

_LONGEST: Final = 2048
_HOST_NAME: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


def refusal(url: str, allowed_hosts: Sequence[str], trusted_origin: str | None) -> str | None:
    """Return None if `url` may be emailed, otherwise one sentence that says why not.

    It must be https, and its host one of `allowed_hosts`, below one of them, or that of `trusted_origin` (the
    configured API URL; ports do not count). Plain http is allowed only for that host, and only if the trusted
    origin is http itself, as the sandbox is. The sentence names at most the host.
    """
    if len(url) > _LONGEST:
        return f"The relink URL is longer than {_LONGEST} characters."
    if any(c == "\\" or unicodedata.category(c)[0] in "CZ" for c in url):
        return "The relink URL contains a backslash, white space or a control character."
    try:
        parts = urlsplit(url)
        _ = parts.port  # is only validated on access
    except ValueError:
        return "The relink URL is malformed."
    if parts.scheme not in {"http", "https"}:
        return "The relink URL is neither https nor http."
    if "@" in parts.netloc:
        return "The relink URL contains a user name."
    host = _host(parts)
    if host is None:
        return "The relink URL has no valid host."

    trusted = urlsplit(trusted_origin or "")
    is_trusted = host == _host(trusted)
    if not is_trusted and not any(_is_at_or_below(host, allowed) for allowed in allowed_hosts):
        return f"The relink URL leads to {host[:100]}, which is not among the allowed hosts."
    if parts.scheme == "http" and not (is_trusted and trusted.scheme == "http"):
        return f"The relink URL leads to {host[:100]} without https."
    return None


def _is_at_or_below(host: str, allowed: str) -> bool:
    name = allowed.strip().lower().lstrip(".")
    return host == name or host.endswith(f".{name}")


def _host(parts: SplitResult) -> str | None:
    """Return the host in ASCII, or None if programs could disagree on which host it is."""
    host = parts.hostname
    if not host:
        return None
    try:
        if ":" in host:
            return None if "%" in host else str(ip_address(host))
        if not host.isascii():
            encoded = host.encode("idna")
            # It must survive the round trip: 'faß' and full-width look-alikes become different names here
            # than in some browsers.
            if encoded.decode("idna") != host:
                return None
            host = encoded.decode("ascii")
    except ValueError:
        return None
    return host if _HOST_NAME.fullmatch(host) else None
