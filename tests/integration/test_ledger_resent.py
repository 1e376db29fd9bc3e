"""Commands whose answers are lost: the client sends them again, and they recognise their earlier effect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from config.settings import load_settings
from tests.integration.ledgers import LONG, an_event, claim
from worker.ledger.leases import Change, Lease
from worker.ledger.ledger import Connecting, Credentials, Ledger
from worker.ledger.opening import connect_redis
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.records import AccessToken
from worker.ledger.vault import Vault


@pytest.fixture
def ledger(redis_url: str, prefix: str, vault: Vault) -> Iterator[Ledger]:
    """A ledger whose client bridges short outages, with an account that has one due event."""
    with connect_redis(load_settings(redis_url=redis_url)) as client:
        ledger = Ledger(client, prefix, vault, LONG, 1000)
        ledger.connect(Connecting("acc", Credentials("refresh-1", "access-1"), "us", None, None))
        ledger.track("acc", an_event())
        yield ledger


@contextmanager
def one_answer_lost(redis: Redis) -> Iterator[None]:
    """Within the block, the first answer of a script is read and then lost."""
    client: Any = redis
    parse = client.parse_response
    lost: list[Any] = []

    def answer(connection: Any, command: str, **options: Any) -> Any:
        value = parse(connection, command, **options)
        if command == "EVALSHA" and not lost:
            lost.append(value)
            raise RedisConnectionError("The connection was lost.")
        return value

    with patch.object(client, "parse_response", answer):
        yield
    assert lost


def test_a_repeated_claim_holds_the_account(ledger: Ledger) -> None:
    """The lease does not count as somebody else's, which would be waited for."""
    with one_answer_lost(ledger.redis):
        claimed = ledger.claim_account("acc", LONG)

    assert isinstance(claimed, Lease)
    assert len(claimed.events) == 1


def test_tokens_that_are_kept_again_are_kept(ledger: Ledger) -> None:
    """They are not mistaken for those of an account connected again in the meantime."""
    account = ledger.account("acc")

    with one_answer_lost(ledger.redis):
        sealed = ledger.keep_credentials(account, Credentials("refresh-2", "access-2"))

    assert sealed is not None
    assert ledger.account("acc").credentials == sealed


def test_an_access_token_is_asked_for_once(ledger: Ledger) -> None:
    """The second command finds that the first one asked, while the look goes on."""
    ledger.connect(Connecting("acc", Credentials(access_token="access"), "us", None, None, LONG))
    lease = claim(ledger)
    needed = Outcome(OutcomeType.TOKEN_NEEDED, "acc", lease.now)

    with one_answer_lost(ledger.redis):
        committed = ledger.commit(lease, Change(token=AccessToken(1), outcomes=[needed]), done=False)

    assert (committed.void, ledger.account("acc").token) == (False, AccessToken(1))
    assert [each["type"] for each in ledger.outcomes.newest()].count("token_needed") == 1
