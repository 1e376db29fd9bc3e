"""A Redis's URL: what each spelling means, for the ledger's client and for Celery; and what is refused."""

from __future__ import annotations

import pytest

from config.celery import celery_config
from config.redis_url import RedisUrl, parse
from config.settings import SettingsError, load_settings

HERE = (("host", 6379),)
PAIR = (("one", 26379), ("two", 5000))

READ = [
    ("redis://host", RedisUrl(HERE)),
    ("redis://host:6379/", RedisUrl(HERE)),
    ("redis://host/4", RedisUrl(HERE, db=4)),
    ("redis://host/4/", RedisUrl(HERE, db=4)),
    ("redis://host?db=4", RedisUrl(HERE, db=4)),
    ("redis://host/4?db=4", RedisUrl(HERE, db=4)),
    ("REDIS://host/4", RedisUrl(HERE, db=4)),
    ("redis://:word@host", RedisUrl(HERE, password="word")),
    ("redis://user:wo%40rd%2F@host", RedisUrl(HERE, username="user", password="wo@rd/")),
    ("redis://[::1]:7000/0", RedisUrl((("::1", 7000),))),
    ("rediss://host", RedisUrl(HERE, tls={"ssl_cert_reqs": "required"})),
    ("rediss://host?ssl_cert_reqs=CERT_REQUIRED", RedisUrl(HERE, tls={"ssl_cert_reqs": "required"})),
    ("rediss://host?ssl_cert_reqs=none", RedisUrl(HERE, tls={"ssl_cert_reqs": "none"})),
    (
        "rediss://host?ssl_ca_certs=%2Fca.pem&ssl_check_hostname=False",
        RedisUrl(
            HERE, tls={"ssl_cert_reqs": "required", "ssl_ca_certs": "/ca.pem", "ssl_check_hostname": False}
        ),
    ),
    ("unix:///run/redis.sock", RedisUrl(socket="/run/redis.sock")),
    ("unix://user:word@/r.sock?db=3", RedisUrl(socket="/r.sock", db=3, username="user", password="word")),
    ("redis+socket:///r.sock?virtual_host=3", RedisUrl(socket="/r.sock", db=3)),
    ("redis+sentinel://one,two:5000/main", RedisUrl(PAIR, service="main")),
    ("redis+sentinel://one,two:5000/main/2", RedisUrl(PAIR, service="main", db=2)),
    (
        "sentinel://user:word@one,two:5000/2?service=main",
        RedisUrl(PAIR, service="main", db=2, username="user", password="word"),
    ),
    (
        "rediss+sentinel://one,two:5000/main?sentinel_username=u&sentinel_password=p",
        RedisUrl(
            PAIR,
            service="main",
            sentinel_username="u",
            sentinel_password="p",
            tls={"ssl_cert_reqs": "required"},
        ),
    ),
]


@pytest.mark.parametrize(("url", "meant"), READ, ids=[url for url, _ in READ])
def test_a_url_is_read(url: str, meant: RedisUrl) -> None:
    """Every spelling of the same place means the same."""
    assert parse(url) == meant


REFUSED = [
    ("redis://host/abc", "database that is not a number"),
    ("redis://host/1/2", "more than one database"),
    ("redis://host/1?db=2", "more than one database"),
    ("redis://host?nonsense=1", "the option nonsense"),
    ("redis://host?protocol=3", "the option protocol"),
    ("redis://host?max_connections=4", "the option max_connections"),
    ("redis://host?socket_timeout=4", "the option socket_timeout"),
    ("redis://host?planted%20word=4", "an option of a strange name"),
    ("redis://host?db=1&db=1", "the option db twice"),
    ("redis://host?ssl_ca_certs=/ca.pem", "needs TLS"),
    ("rediss://host?ssl_cert_reqs=planted", "ssl_cert_reqs"),
    ("rediss://host?ssl_check_hostname=planted", "ssl_check_hostname"),
    ("redis://one,two", "several hosts"),
    ("redis://:pla?nted@host/0", "%3F"),
    ("redis://:pla#nted@host/0", "%23"),
    ("redis://:pla/nted@host/0", "%2F"),
    ("unix://run/redis.sock", "three slashes"),
    ("unix://", "three slashes"),
    ("redis+sentinel://one", "names no service"),
    ("redis+sentinel://one/2", "names no service"),
    ("sentinel://one;sentinel://two/0", "commas"),
    ("redis+cluster://host", "must start with"),
]


@pytest.mark.parametrize("variable", ["REDIS_URL", "BROKER_URL"])
@pytest.mark.parametrize(("url", "words"), REFUSED, ids=[url for url, _ in REFUSED])
def test_what_ledger_and_broker_would_read_differently_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str, words: str
) -> None:
    """The sentence names the setting and the fault, and repeats nothing else of the URL."""
    monkeypatch.setenv(f"RECONCILER_{variable}", url)

    with pytest.raises(SettingsError) as refused:
        load_settings()

    sentence = str(refused.value)
    assert sentence.startswith(f"RECONCILER_{variable} ")
    assert words in sentence
    assert not any(part in sentence for part in ("planted", "pla", "nted", url))


@pytest.mark.parametrize(
    ("url", "broker", "results", "options"),
    [
        (
            "redis://us%40er:wo%2Frd@host:7000/4",
            "redis://us%40er:wo%2Frd@host:7000/4",
            "Results+redis://us%40er:wo%2Frd@host:7000/4",
            {},
        ),
        (
            "unix:///run/my%20redis.sock?db=2",
            "redis+socket:///run/my%20redis.sock?virtual_host=2",
            "Results+socket:///run/my%20redis.sock?virtual_host=2",
            {},
        ),
        (
            "redis+sentinel://user:word@one,[::1]:5000/main/2",
            "sentinel://user:word@one:26379/2;sentinel://user:word@[::1]:5000/2",
            "SentinelResults+sentinel://user:word@one:26379/2;sentinel://user:word@[::1]:5000/2",
            {"master_name": "main"},
        ),
    ],
    ids=["a server", "a socket", "Sentinel"],
)
def test_celery_gets_the_same_place_in_its_own_spelling(
    url: str, broker: str, results: str, options: dict[str, str]
) -> None:
    """For messages and for results."""
    config = celery_config(load_settings(redis_url=url))

    assert config["broker_url"] == broker
    assert config["result_backend"] == f"worker.broker.results:{results}"
    assert options.items() <= config["broker_transport_options"].items()
    assert options.items() <= config["result_backend_transport_options"].items()


def test_celery_verifies_certificates_as_the_ledger_does() -> None:
    """One set of options for messages, results and sentinels."""
    tls = {"ssl_cert_reqs": "required", "ssl_ca_certs": "/ca.pem"}

    config = celery_config(load_settings(redis_url="rediss+sentinel://one/main?ssl_ca_certs=/ca.pem"))

    assert config["broker_use_ssl"] == config["redis_backend_use_ssl"] == tls
    assert {**tls, "ssl": True}.items() <= config["broker_transport_options"]["sentinel_kwargs"].items()


def test_a_password_is_not_shown() -> None:
    """The value may end up in a traceback."""
    url = "redis+sentinel://u:planted@one/main?sentinel_password=planted"

    assert "planted" not in repr(parse(url))
