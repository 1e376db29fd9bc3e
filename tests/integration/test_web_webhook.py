"""The webhook: signed bytes in, a message on the intake queue out, and no 2xx without one."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from redis import Redis

from tests.faults.server import running_server
from tests.integration.served import HEADER, OLD_SECRET, SECRET, notify, serving
from tests.waiting import wait_until
from worker.cronofy.callbacks import callback_path
from worker.cronofy.signature import is_signed, signature_of
from worker.host.embedded import embedded_server
from worker.intake.payloads import LARGEST_PAYLOAD
from worker.ledger.vault import Vault

PATH = "/webhooks/cronofy"
KEYS = Fernet.generate_key().decode()


@pytest.fixture(scope="module")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server for the module: queues have no prefix."""
    with embedded_server(tmp_path_factory.mktemp("broker")) as url:
        yield url


@pytest.fixture(scope="module")
def url(broker_url: str) -> Iterator[str]:
    """The URL of what is served."""
    with serving(redis_url=broker_url, vault_keys=KEYS, key_prefix="web") as running:
        yield running


@pytest.fixture
def broker(broker_url: str) -> Iterator[Redis]:
    """An empty broker and an empty ledger."""
    with Redis.from_url(broker_url) as client:
        client.flushall()
        yield client


def _messages(broker: Redis) -> list[dict[str, Any]]:
    """The keyword arguments of the waiting messages, oldest first."""
    raw: Any = broker.lrange("web.intake", 0, -1)
    bodies = [json.loads(base64.b64decode(json.loads(message)["body"])) for message in reversed(raw)]
    return [kwargs for _, kwargs, _ in bodies]


bodies = {
    "json": b'{"notification":{"type":"change"}}',
    "odd spaces and escapes": b' {"a" :\t"\\u00e9\\n" }\r\n',
    "other scripts": '{"summary":"日本語 ✓ é"}'.encode(),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "no json": b"not json",
    "empty": b"",
}


@pytest.mark.parametrize("body", bodies.values(), ids=bodies)
def test_the_body_arrives_unchanged(url: str, broker: Redis, body: bytes) -> None:
    """Byte for byte, so that the task's own signature check passes."""
    answer = notify(url, body)

    assert answer.status_code == 204
    [message] = _messages(broker)
    assert set(message) == {"body", "signature"}
    assert message["body"].encode() == body
    assert is_signed(message["body"].encode(), message["signature"], [SECRET])


@pytest.mark.parametrize(
    ("signature", "status"),
    [
        pytest.param(signature_of(b"{}", SECRET), 204, id="newest"),
        pytest.param(f"{signature_of(b'{}', 'new')}, {signature_of(b'{}', OLD_SECRET)}", 204, id="older"),
        pytest.param(signature_of(b"{}", "guessed"), 401, id="another's"),
        pytest.param("", 401, id="none"),
        pytest.param(",".join([signature_of(b"{}", SECRET)] * 100), 401, id="far too many"),
    ],
)
def test_only_what_is_signed_with_one_of_our_secrets_is_taken(
    url: str, broker: Redis, signature: str, status: int
) -> None:
    """Anything else is refused, counted, and not enqueued."""
    headers = {HEADER: signature} if signature else {}
    answer = httpx.post(url + PATH, content=b"{}", headers=headers, trust_env=False)

    assert answer.status_code == status
    assert len(_messages(broker)) == (status == 204)
    if status == 401:
        counted = wait_until(lambda: broker.hget("web:counters", "notifications:bad_signature"))
        assert counted == b"1"


def test_a_key_adds_the_ids_that_it_was_made_of(url: str, broker: Redis) -> None:
    """Of the account, and of the event if included; one that does not open adds none and is harmless."""
    vault = Vault([KEYS])
    paths = [
        callback_path(vault, "acc_1"),
        callback_path(vault, "acc_2", "cal_1", "ev/1"),
        callback_path(Vault([Fernet.generate_key().decode()]), "acc_3"),
        f"{PATH}/%00%ff",
    ]

    answers = [notify(url, b"{}", path=path).status_code for path in paths]

    assert answers == [204] * 4
    ids = [{k: v for k, v in m.items() if k not in ("body", "signature")} for m in _messages(broker)]
    event = {"sub": "acc_2", "calendar_id": "cal_1", "event_id": "ev/1"}
    assert ids == [{"sub": "acc_1"}, event, {}, {}]


large = {
    "longer than any": b"x" * (LARGEST_PAYLOAD + 1),
    "longer with its signature": b"x" * LARGEST_PAYLOAD,
    "longer once escaped": b'"' * (LARGEST_PAYLOAD // 2 + 1),
}


@pytest.mark.parametrize("streamed", [False, True], ids=["announced", "streamed"])
@pytest.mark.parametrize("body", large.values(), ids=large)
def test_a_body_that_the_task_would_refuse_is_refused(
    url: str, broker: Redis, body: bytes, streamed: bool
) -> None:
    """By its announced length, or while it arrives; nothing that would be a dead letter is enqueued."""
    content = iter([body[:1000], body[1000:]]) if streamed else body
    headers = {HEADER: signature_of(body, SECRET)}
    answer = httpx.post(url + PATH, content=content, headers=headers, trust_env=False)

    assert answer.status_code == 413
    assert _messages(broker) == []


def test_other_requests_are_told_what_is_wrong(url: str, broker: Redis) -> None:
    """A body that is not UTF-8, another method, another path."""
    assert notify(url, b"\xff\xfe{}").status_code == 400
    assert httpx.get(url + PATH, trust_env=False).status_code == 405
    assert notify(url, b"{}", path="/webhooks/other").status_code == 404
    assert _messages(broker) == []
    assert "server" not in notify(url, b"{}").headers


def test_nothing_is_acknowledged_while_the_broker_is_away(tmp_path: Path, broker_url: str) -> None:
    """503 within a second while it hangs or is dead; normal again once it is back."""
    ledger = {"redis_url": broker_url, "vault_keys": KEYS, "key_prefix": "web"}
    with running_server(tmp_path / "own") as own, serving(**ledger, broker_url=own.url) as url:
        pid = int(own.client.info()["process_id"])
        assert notify(url, b"1").status_code == 204

        os.kill(pid, signal.SIGSTOP)
        try:
            begun = time.monotonic()
            hanging = notify(url, b"2")
            took = time.monotonic() - begun
            ready = httpx.get(f"{url}/readyz", trust_env=False)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert (hanging.status_code, hanging.headers["retry-after"]) == (503, "5")
        # The contract's second, plus what a busy machine adds.
        assert took < 2
        assert ready.status_code == 503
        assert ready.text.startswith("the broker: ")

        own.kill()
        assert notify(url, b"3").status_code == 503
        assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 200

        own.start()
        wait_until(lambda: notify(url, b"4").status_code == 204, 15, 0.1, what="the broker to be used again")
        sent = [message["body"] for message in _messages(own.client)]
        assert sent[0] == "1"
        assert sent[-1] == "4"
        assert "3" not in sent


def test_a_broker_that_takes_no_writes_is_not_acknowledged(tmp_path: Path, broker_url: str) -> None:
    """Out of memory, it answers but stores nothing: 503, and the reason is not its own text."""
    ledger = {"redis_url": broker_url, "vault_keys": KEYS, "key_prefix": "web"}
    with running_server(tmp_path / "own") as own, serving(**ledger, broker_url=own.url) as url:
        own.set(maxmemory="1")
        assert notify(url, b"1").status_code == 503

        own.set(maxmemory="0")
        wait_until(lambda: notify(url, b"2").status_code == 204, 15, 0.1)
        assert [message["body"] for message in _messages(own.client)] == ["2"]
