"""Email addresses and domains, as they are given to us and as headers take them."""

from __future__ import annotations

import re
from contextlib import suppress
from email.headerregistry import Address

import idna

from worker.wording import header, line

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_ADDR_SPEC = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_NAMED = re.compile(r"(?P<name>[^<>]*)<(?P<address>[^<>]*)>\s*", re.DOTALL)

# RFC 5322's specials. A display name with them must be quoted, which the standard library forgets when it
# also encodes or folds the name, so that "Lee, Ann" becomes two addresses. A name reads well without them.
_SPECIALS = str.maketrans(dict.fromkeys('"(),:;<>@[]\\', " "))


def ascii_domain(domain: str) -> str:
    """Return a domain or host name in ASCII; ValueError if one beyond ASCII has no such form.

    Python's own codec is IDNA 2003, which turns `straße` into `strasse`, a domain that may be another's.
    """
    return domain if domain.isascii() else idna.encode(domain, uts46=True).decode("ascii")


def address(text: str, name: str | None = None) -> Address:
    """Return the mailbox for a plain address such as `dana@example.org`, with a display name if given.

    The domain is in ASCII, the local part as it was written. Anything else (a list, a comment, a quoted local
    part, a domain literal) is a ValueError that quotes the address without its control characters.
    """
    local, _, domain = text.rpartition("@")
    with suppress(ValueError):  # what stays beyond ASCII does not match below
        domain = ascii_domain(domain)
    plain = f"{local}@{domain}"
    is_plain = _ADDR_SPEC.fullmatch(plain) and line(text) == text and "=?" not in local
    if not is_plain or len(plain.encode()) > 254 or len(local.encode()) > 64:
        raise ValueError(f"not a plain email address: {line(text, 100)!r}")
    return Address(header((name or "").translate(_SPECIALS), 64), local, domain)


def mailbox(text: str) -> Address:
    """Return the mailbox of a setting: `address` or `Name <address>`; ValueError as in `address`."""
    named = _NAMED.fullmatch(text)
    return address(named["address"], named["name"]) if named else address(text)
