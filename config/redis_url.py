"""How a Redis is named: one reading of its URL, for the ledger's client and for Celery alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote

from redis.backoff import NoBackoff
from redis.retry import Retry

#: One server, with and without TLS; a Unix socket, in redis-py's spelling and in Celery's; Sentinel, in the
#: spelling of most libraries, with and without TLS, and in Celery's.
_SERVER: Final = ("redis", "rediss")
_SOCKET: Final = ("unix", "redis+socket")
_SENTINEL: Final = ("redis+sentinel", "rediss+sentinel", "sentinel")
SCHEMES: Final = (*_SERVER, *_SOCKET, *_SENTINEL)

#: Celery's spelling of the same, too.
_CERT_REQS: Final = {
    **{word: word for word in ("required", "optional", "none")},
    **{f"CERT_{word.upper()}": word for word in ("required", "optional", "none")},
}
_TLS_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_ADDRESS: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """Where a Redis is and how to enter it."""

    #: Host and port of the server, or of each sentinel; none for a Unix socket.
    addresses: tuple[tuple[str, int], ...] = ()
    #: The path of a Unix socket.
    socket: str = ""
    #: The sentinels' name for the primary.
    service: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    #: What the sentinels themselves ask for, if anything.
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    #: The options for TLS, under the names of redis-py, Kombu and Celery; None without TLS.
    tls: Mapping[str, Any] | None = None

    @property
    def place(self) -> dict[str, Any]:
        """Host and port, or path, as redis-py's connections take them; for Sentinel, nothing."""
        if self.socket:
            return {"path": self.socket}
        if self.service:
            return {}
        host, port = self.addresses[0]
        return {"host": host, "port": port}

    @property
    def entry(self) -> dict[str, Any]:
        """Database, login and TLS, as redis-py's connections take them."""
        return {"db": self.db, "username": self.username, "password": self.password, **(self.tls or {})}

    @property
    def sentinel_entry(self) -> dict[str, Any]:
        """What a client of one sentinel takes: it soon gives up, and the next one is asked."""
        tls = {"ssl": True, **self.tls} if self.tls is not None else {}
        login = {"username": self.sentinel_username, "password": self.sentinel_password}
        waits = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0, "retry": Retry(NoBackoff(), 0)}
        return {**login, **tls, **waits}

    @property
    def for_celery(self) -> str:
        """The URL as Kombu and Celery take it; TLS and the service's name are settings of their own."""
        login = ""
        if self.username or self.password:
            login = f"{_quoted(self.username)}:{_quoted(self.password)}@"
        if self.socket:
            return f"redis+socket://{login}{quote(self.socket)}?virtual_host={self.db}"
        scheme = "sentinel" if self.service else "redis" if self.tls is None else "rediss"
        hosts = [(f"[{host}]" if ":" in host else host, port) for host, port in self.addresses]
        # Each with the login, since Kombu takes one after the other as its own URL.
        return ";".join(f"{scheme}://{login}{host}:{port}/{self.db}" for host, port in hosts)


def is_redis(url: str) -> bool:
    """Whether the URL means a Redis, be it well formed or not."""
    return url.partition("://")[0].lower().startswith(("redis", "unix", "socket", "sentinel"))


def parse(url: str) -> RedisUrl:
    """Read a Redis's URL; ValueError says what is wrong, without repeating any of it but an option's name."""
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in SCHEMES:
        raise ValueError(f"must start with one of {', '.join(f'{each}://' for each in SCHEMES)}")
    if not re.fullmatch(r"[!-~]*", rest):
        raise ValueError("has a character that must be written with %, such as %20 for a blank")
    where, _, query = rest.partition("?")
    if "@" in query or "#" in rest or any(bracket in where.rpartition("@")[0] for bracket in "[]/"):
        raise ValueError("has a ?, #, / or bracket in its user or password: write %3F, %23, %2F and so on")
    netloc, _, path = where.partition("/")
    login, _, hosts = netloc.rpartition("@")
    username, _, password = (unquote(part) or None if part else part for part in login.partition(":"))
    options = _options(query)

    socket = service = ""
    addresses: tuple[tuple[str, int], ...] = ()
    segments = [unquote(segment) for segment in path.split("/") if segment]
    if scheme in _SOCKET:
        socket, segments = "/" + unquote(path), []
        if hosts or socket == "/":
            raise ValueError("must name the socket's path after three slashes")
    else:
        addresses = _addresses(hosts, 26379 if scheme in _SENTINEL else 6379)
    if scheme in _SENTINEL:
        service = options.pop("service", "") or (segments.pop(0) if segments else "")
        if not service or service.isdigit():
            raise ValueError("names no service: write host:port,host:port/service/database")
    elif len(addresses) > 1:
        raise ValueError("names several hosts, which only redis+sentinel:// takes")
    entry = {
        name: options.pop(name)
        for name in ("sentinel_username", "sentinel_password")
        if scheme in _SENTINEL and name in options
    }
    return RedisUrl(
        addresses=addresses,
        socket=socket,
        service=service,
        db=_database(segments, options),
        username=username or None,
        password=password or None,
        tls=_tls(scheme.startswith("rediss"), options),
        **entry,
    )


def _addresses(hosts: str, port: int) -> tuple[tuple[str, int], ...]:
    if not hosts:
        raise ValueError("has no host")
    found = []
    for address in hosts.split(","):
        parts = _ADDRESS.fullmatch(address)
        if parts is None or not 0 < int(parts[3] or port) < 65536:
            raise ValueError("has a host or port that cannot be one; commas go between several sentinels")
        found.append((parts[1] or parts[2], int(parts[3] or port)))
    return tuple(found)


def _options(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in options:
            raise ValueError(f"has {_shown(name)} twice")
        options[name] = value
    return options


def _database(segments: list[str], options: dict[str, str]) -> int:
    # The last is Celery's spelling for a socket.
    named = {*segments, *(options.pop(name) for name in ("db", "virtual_host") if name in options)}
    if len(named) > 1:
        raise ValueError("names more than one database")
    database = named.pop() if named else "0"
    if not re.fullmatch(r"[0-9]{1,9}", database):
        raise ValueError("names a database that is not a number")
    return int(database)


def _tls(used: bool, options: dict[str, str]) -> dict[str, Any] | None:
    """The options for TLS; every option that is left then is not ours."""
    found: dict[str, Any] = {name: options.pop(name) for name in _TLS_FILES if name in options}
    if "ssl_cert_reqs" in options:
        reqs = _CERT_REQS.get(options.pop("ssl_cert_reqs"))
        if reqs is None:
            raise ValueError("has an ssl_cert_reqs other than required, optional and none")
        found["ssl_cert_reqs"] = reqs
    if "ssl_check_hostname" in options:
        check = options.pop("ssl_check_hostname").lower()
        if check not in {"true", "false"}:
            raise ValueError("has an ssl_check_hostname that is neither true nor false")
        found["ssl_check_hostname"] = check == "true"
    for name in options:
        raise ValueError(f"has {_shown(name)}, which is not taken")
    if found and not used:
        raise ValueError(f"has the option {next(iter(found))}, which needs TLS: begin it with rediss")
    return {"ssl_cert_reqs": "required", **found} if used else None


def _shown(name: str) -> str:
    # Anything else might be part of a password.
    return f"the option {name}" if re.fullmatch(r"[a-z_]{1,40}", name) else "an option of a strange name"


def _quoted(text: str | None) -> str:
    return quote(text or "", safe="")
