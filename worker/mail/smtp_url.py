"""Parses the SMTP URL (contract §4, `RECONCILER_SMTP_URL`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from worker.addresses import ascii_domain

Security = Literal["none", "starttls", "tls"]

#: For each scheme, how the connection is secured and the default port.
_SCHEMES: Final[dict[str, tuple[Security, int]]] = {
    "smtp": ("none", 25),
    "smtp+starttls": ("starttls", 587),
    "smtps": ("tls", 465),
}


@dataclass(frozen=True, slots=True)
class SmtpTarget:
    """One mail server and how to reach it; user and password are both given or both None."""

    security: Security
    host: str
    port: int
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


def parse_smtp_url(url: str) -> SmtpTarget:
    """Parse `smtp://`, `smtps://` or `smtp+starttls://user:password@host:port`.

    User and password are percent-decoded. The default ports are 25, 465 and 587. Anything invalid is a
    ValueError of one sentence that repeats no part of the URL.
    """
    if any(c.isspace() or not c.isprintable() for c in url):
        raise ValueError("The SMTP URL contains white space or a control character.")
    try:
        parts = urlsplit(url)
        port = parts.port
        # The codec refuses empty and overlong labels, as it would when connecting.
        host = ascii_domain(parts.hostname or "").encode("idna").decode("ascii")
    except ValueError:  # its text quotes the URL; the usual cause is an unescaped character in the password
        raise ValueError(
            "The SMTP URL has a malformed host or port; special characters in user and password must be "
            "percent-encoded."
        ) from None
    if parts.scheme not in _SCHEMES:
        raise ValueError("The SMTP URL must start with smtp://, smtps:// or smtp+starttls://.")
    if not host or port == 0:
        raise ValueError("The SMTP URL has no host, or port 0.")
    if parts.path not in {"", "/"} or "?" in url or "#" in url:
        raise ValueError(
            "The SMTP URL continues after host and port; special characters in user and password must be "
            "percent-encoded."
        )
    security, default_port = _SCHEMES[parts.scheme]
    return SmtpTarget(security, host, port or default_port, *_credentials(parts))


def _credentials(parts: SplitResult) -> tuple[str, str] | tuple[None, None]:
    if "@" not in parts.netloc:
        return None, None
    try:
        user, password = (unquote(raw or "", errors="strict") for raw in (parts.username, parts.password))
    except UnicodeDecodeError:
        raise ValueError("The SMTP URL's user or password is not percent-encoded UTF-8.") from None
    if not user or not password:
        raise ValueError("The SMTP URL needs both a user and a password, or neither.")
    if not (user + password).isascii() or not (user + password).isprintable():
        # smtplib encodes both as ASCII, and AUTH PLAIN separates its fields by NUL.
        raise ValueError("The SMTP URL's user and password must be printable ASCII.")
    return user, password
