"""Forgets an account: erases every trace of it that we keep, and leaves a tombstone that names nobody.

What is found by the account's id goes in one atomic step. The rest is searched, in pieces: outcomes, dead
letters, results, and emails kept as files on this host. All of it may safely be repeated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, cast

import structlog

from worker.bootstrap import Services
from worker.ledger.dead_letters import HEAD
from worker.ledger.leases import Lease
from worker.ledger.ledger import Ledger
from worker.ledger.lookup import events_of, results
from worker.ledger.outcomes import Outcome

#: How long to search the results, which last ten minutes anyway.
LONGEST_SEARCH = 10.0
#: What every diagnosis has, as a result of a task.
_DIAGNOSIS = {"sub", "calendar_id", "event_id", "state", "evidence", "join_url"}

log = structlog.get_logger()


def forget(services: Services, sub: str, outcome: Outcome | None = None) -> None:
    """Erase all we know of the account, and close its notification channel if possible.

    `outcome`, which reports it, stays in the stream.
    """
    ledger, channels = services.ledger, services.looker.channels
    ledger.forgotten.add(sub, ledger.now())
    if channels is not None:
        # Skipped, not waited for, while a look is in progress: only the lease's holder may refresh tokens.
        lease = ledger.claim_account(sub, services.settings.lease)
        if isinstance(lease, Lease):
            channels.close(lease.account)
    account = ledger.account(sub)
    names = {sub, *(key.calendar_id for key in events_of(ledger, sub))}
    names |= {account.email} if account.email else set()
    newest = ledger.outcomes.newest_id()
    episodes = (*account.memo.episodes.values(), *account.connects.values())
    mail_ids = {each for episode in episodes for each in episode.mail_ids}
    mail_ids |= ledger.outcomes.erase(sub)
    _erase_letters(ledger, sub, names)
    said = outcome.to_json() if outcome else ""
    ledger.forget(sub, said)
    # A look may have said something until then.
    mail_ids |= ledger.outcomes.erase(sub, since=newest, but=said)
    ledger.posts.erase(sub)
    ledger.mails.erase(sub)
    if mail_ids:
        ledger.redis.delete(*(ledger.keys.refused(mail_id) for mail_id in mail_ids))
    files = services.mailer.erase(sub, account.email, mail_ids)
    _erase_results(ledger, sub)
    log.info("account.forgotten", sub=sub, files=files)


def _erase_letters(ledger: Ledger, sub: str, names: set[str]) -> None:
    """Erase the dead letters that are about the account; one that no vault key opens stays."""
    for kept in ledger.dead_letters:
        whose = kept.letter.kwargs.get("sub")
        # Without an account's id, one of the other names tells.
        about = whose == sub if isinstance(whose, str) else not names.isdisjoint(_texts(kept.letter.kwargs))
        if kept.letter.cut is not None:
            # The head of a payload is no JSON any more.
            head = str(kept.letter.kwargs.get(HEAD))
            about = any(json.dumps(name, ensure_ascii=False) in head for name in names)
        if about:
            ledger.dead_letters.remove(kept.letter_id)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a payload, also in a notification's body."""
    if isinstance(value, str):
        yield value
        if value.startswith("{"):
            try:
                yield from _texts(json.loads(value))
            except (ValueError, RecursionError):
                return
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _erase_results(ledger: Ledger, sub: str) -> None:
    """Erase the answers about the account; what is not found in time expires."""
    end = time.monotonic() + LONGEST_SEARCH
    for keys in results(ledger):
        if keys:
            texts = cast("list[bytes | None]", ledger.redis.mget(keys))
            ours = [key for key, text in zip(keys, texts, strict=True) if text and _is_about(text, sub)]
            if ours:
                ledger.redis.delete(*ours)
        if time.monotonic() > end:
            log.warning("account.results_left", sub=sub)
            return


def _is_about(text: bytes, sub: str) -> bool:
    try:
        result = json.loads(text).get("result")
    except (AttributeError, ValueError):
        return False
    answers = result if isinstance(result, list) else [result]
    return any(
        isinstance(answer, dict) and answer.keys() >= _DIAGNOSIS and answer["sub"] == sub
        for answer in answers
    )
