"""Temporary outages of a server: it is away, or it answers but refuses writes.

Neither is the fault of the work at hand, which is retried later and never given up.
"""

from __future__ import annotations

import re
from typing import Final

from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterCrossSlotError,
    ClusterError,
    DataError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from worker.trouble import WORDS, Kind

#: A server that answers, and takes no writes: the same words, which say this first.
_TAKES_NO_WRITES: Final = "Redis takes no writes: "


def _reason(kind: Kind) -> str:
    words = WORDS[kind]
    return f"{words.sentence.removeprefix(_TAKES_NO_WRITES)}: {words.fix}"


AWAY: Final = "it does not answer"
READ_ONLY: Final = _reason(Kind.REDIS_READ_ONLY)
FULL: Final = _reason(Kind.REDIS_FULL)
_FORBIDDEN: Final = "its ACL does not let this user in, or lacks rights that we need: see docs/security.md"
_ORPHAN: Final = "it is a replica that lost its primary"
_CLUSTER: Final = "it is a Redis Cluster, which is not supported"

#: The first match decides.
_KINDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (ReadOnlyError, READ_ONLY),
    (OutOfMemoryError, FULL),
    (NoPermissionError, _FORBIDDEN),
    (AuthenticationError, _FORBIDDEN),
    (MasterDownError, _ORPHAN),
    (ClusterError, _CLUSTER),
    (AskError, _CLUSTER),
    (ClusterCrossSlotError, _CLUSTER),
    (RedisConnectionError, AWAY),
    (RedisTimeoutError, AWAY),
)
#: Redis's codes for errors that have no class of their own.
_CODES: Final = {
    "BUSY": "it is busy with somebody's script",
    "NOREPLICAS": _reason(Kind.REDIS_NO_REPLICAS),
    "MISCONF": _reason(Kind.REDIS_NO_DISK),
    "UNBLOCKED": "its role has changed",
}
#: The reasons of a server that is not the primary, or no longer.
_MOVED: Final = frozenset({READ_ONLY, _ORPHAN, _CODES["UNBLOCKED"]})
#: The reasons of a server that answers, and takes no writes.
_NO_WRITES: Final = {
    READ_ONLY: Kind.REDIS_READ_ONLY,
    FULL: Kind.REDIS_FULL,
    _CODES["NOREPLICAS"]: Kind.REDIS_NO_REPLICAS,
    _CODES["MISCONF"]: Kind.REDIS_NO_DISK,
}
#: A command of ours was wrong, and would be again. Every other error is the server's refusal, whatever its
#: code, and not the fault of the work at hand.
_OUR_FAULT: Final = (DataError, NoScriptError)
_OUR_CODES: Final = frozenset({"ERR", "WRONGTYPE"})
#: A code is a word in capitals; errors of scripts have none. In a pipeline, the client puts the command in
#: front.
_CODE: Final = re.compile(r"(?:Command # .* caused error: )?([A-Z]{2,}) ", re.DOTALL)


def refusal(error: BaseException) -> str | None:
    """Why the Redis is unavailable, if its client's error means that; never the error's own text."""
    for kind, reason in _KINDS:
        if isinstance(error, kind):
            return reason
    if not isinstance(error, RedisError) or isinstance(error, _OUR_FAULT):
        return None
    if type(error) is not ResponseError:
        return f"it refuses our commands ({type(error).__name__})"
    code = _CODE.match(str(error))
    if code is None or code[1] in _OUR_CODES:
        return None
    return _CODES.get(code[1], f"it refuses our commands ({code[1]})")


def takes_no_writes(error: BaseException) -> str | None:
    """Why the server takes no writes, though it answers, if the error means that."""
    reason = refusal(error)
    return reason if reason in _NO_WRITES else None


def kind_of(reason: str | None) -> Kind | None:
    """What such a reason is called, if operators are told of it in words of its own."""
    return Kind.REDIS_AWAY if reason == AWAY else _NO_WRITES.get(reason or "")


def sentence(error: BaseException) -> str | None:
    """What a person is told of a server that is away or takes no writes; None if it is another error."""
    kind = kind_of(refusal(error))
    return f"{WORDS[kind].sentence}: {WORDS[kind].fix}." if kind else None


def says_it_moved(error: BaseException) -> bool:
    """Whether the server says that it is not the primary, or no longer."""
    return refusal(error) in _MOVED


class BrokerAway(Exception):
    """The broker is unavailable; the message says why, without its URL."""
