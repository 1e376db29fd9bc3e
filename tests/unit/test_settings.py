"""Settings: what is refused, under which name, and what is never shown."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from datetime import timedelta
from pathlib import Path

import pytest

from config.queues import Queues, check_outcome_queue
from config.settings import (
    SettingsError,
    load_settings,
    misspelt_settings,
    require_cronofy,
    require_vault,
)

DURATIONS = """
    HTTP_TIMEOUT LOOK_TIMEOUT SWEEP_EVERY GRACE RECHECK_MIN RECHECK_MAX ESCALATE_AFTER ESCALATE_BEFORE
    FALLBACK_BEFORE RELINK_AGAIN HISTORY_KEEP TASK_TIME_LIMIT VISIBILITY_TIMEOUT
"""
OWN, ANY = "integrated", "any_connected"
#: The same in each process that runs these tests: their ids contain a part of it.
KEY = urlsafe_b64encode(bytes(range(32))).decode()


def refusal(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    """The error of a start with these variables."""
    for name, value in variables.items():
        monkeypatch.setenv(f"RECONCILER_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert caught.value.__suppress_context__
    return str(caught.value)


GOOD = [
    ("API_PER_SECOND", "7", "api_per_second", 7),
    ("API_SHARE", "1", "api_share", 1.0),
    ("BATCH_COST", "call", "batch_cost", "call"),
    ("REPLACEMENT", "any_connected", "replacement", "any_connected"),
    ("RECHECK_MIN", "PT1M", "recheck_min", timedelta(minutes=1)),
    ("RECHECK_MAX", "7200", "recheck_max", timedelta(hours=2)),
    ("RELINK_REMINDERS", "P1D, P2D", "relink_reminders", (timedelta(days=1), timedelta(days=2))),
    ("RELINK_REMINDERS", " 60 ,", "relink_reminders", (timedelta(minutes=1),)),
    ("RELINK_HOSTS", "a.example, b.example", "relink_hosts", ("a.example", "b.example")),
    ("FALLBACK", "integrated, any_connected", "fallback", (OWN, ANY)),
    ("FALLBACK", "", "fallback", ()),
    ("FALLBACK_URL", "https://a.example/r/{key}?x=1", "fallback_url", "https://a.example/r/{key}?x=1"),
    ("RELINK_HOSTS", ".a.example", "relink_hosts", (".a.example",)),
    ("LOG_LEVEL", "WARNING", "log_level", "warning"),
    ("DRY_RUN", "true", "dry_run", True),
    ("DRY_RUN", "1", "dry_run", True),
    ("REDIS_URL", "unix:///run/redis.sock", "redis_url", "unix:///run/redis.sock"),
    ("REDIS_URL", "rediss://host:6380/1", "redis_url", "rediss://host:6380/1"),
    ("BROKER_URL", "amqp://user:word@host//", "broker_url", "amqp://user:word@host//"),
    ("GRACE", "", "grace", timedelta(minutes=2)),
    ("REDIS_URL", "", "redis_url", None),
]


@pytest.mark.parametrize(
    ("variable", "value", "field", "meant"), GOOD, ids=[f"{row[0]}={row[1]}" for row in GOOD]
)
def test_a_variable_is_read(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, field: str, meant: object
) -> None:
    """Numbers, words, lists and durations as in the contract; an empty one counts as unset."""
    monkeypatch.setenv(f"RECONCILER_{variable}", value)

    assert getattr(load_settings(), field) == meant


def test_secrets_are_lists_newest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several during rotation, separated by commas."""
    monkeypatch.setenv("RECONCILER_CRONOFY_CLIENT_SECRET", "new, old")

    assert [secret.get_secret_value() for secret in load_settings().cronofy_client_secret] == ["new", "old"]


BAD = [
    *((name, value) for name in DURATIONS.split() for value in ("soon", "-1", "P1Y")),
    *((name, value) for name in ("API_PER_SECOND", "API_PER_MINUTE") for value in ("0", "-3", "many", "1.5")),
    *(("API_SHARE", value) for value in ("0", "1.01", "-0.1", "nan", "all")),
    *(("REDIS_URL", value) for value in ("host:6379", "http://host", "redis://", "redis://h:x", "local")),
    *(("BROKER_URL", value) for value in ("broker", "amqp://", "amqp://h:x", "foo://host")),
    *(
        ("RELINK_HOSTS", value)
        for value in ("https://a.example", "*.a.example", "a.example:443", "a.example/b")
    ),
    *(("FALLBACK", value) for value in ("zoom", "explicit,often", "integrated,integrated")),
    *(
        ("FALLBACK_URL", value)
        for value in (
            *("room/{key}", "http://a.example/{key}", "https://a.example/", "https:///{key}"),
            *("https://a.example/{key}/{key}", "https://a.example/{sub}/{key}", "https://a.example/{key"),
            *("https://{key}.a.example/", "https://u:p@a.example/{key}", "https://a.example/a b/{key}"),
            *("https://a.example/ü/{key}", "https://a.example/\n{key}", "https://a.example:x/{key}"),
        )
    ),
    *(("CRONOFY_API_URL", value) for value in ("api.example", "ftp://api.example", "https://")),
    *(("WEBHOOK_URL", value) for value in ("hook", "ftp://hook.example")),
    *(
        ("OUTCOME_URL", value)
        for value in ("hook", "ftp://hook.example", "http://hook.example/a", "https://u:p@hook.example/a")
    ),
    *(("MAIL_URL", "http://hook.example/a"), ("MAIL_SECRET", "whsec_AAAA"), ("MAIL_KEY", KEY[:-4])),
    ("USER_MAIL", "pigeon"),
    *(("OUTCOME_SECRET", value) for value in ("whsec_secret", "whsec_" + "A" * 28, KEY[:-4] + "=-")),
    *(("SMTP_URL", value) for value in ("mail.example", "http://mail.example", "smtp://", "smtp://h:x")),
    *(("VAULT_KEYS", value) for value in ("x", f"{KEY},x", KEY[:-4], KEY + "AAAA", "ü" * 43)),
    *(("RELINK_REMINDERS", value) for value in ("P1D,soon", "P3D,P1D", "P1D,P1D")),
    *(
        (name, "0")
        for name in (
            *("OUTCOMES_KEEP", "SWEEP_EVERY", "RECHECK_MIN", "HTTP_TIMEOUT", "HISTORY_KEEP"),
            "FALLBACK_BEFORE",
        )
    ),
    *(("KEY_PREFIX", value) for value in ("with blank", "x" * 65)),
    *(("REPLACEMENT", "sometimes"), ("BATCH_COST", "nothing"), ("LOG_FORMAT", "xml"), ("LOG_LEVEL", "loud")),
    ("DRY_RUN", "perhaps"),
]


@pytest.mark.parametrize(("variable", "value"), BAD, ids=[f"{n}={v[:12]}" for n, v in BAD])
def test_a_bad_value_is_refused_in_one_sentence_that_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """The variable's full name, what it should be, and never its value."""
    sentence = refusal(monkeypatch, **{variable: value})

    assert re.match(rf"RECONCILER_{variable} [^\n]+\.$", sentence), sentence
    assert len(value) < 4 or value not in sentence


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"RECHECK_MIN": "2", "RECHECK_MAX": "1"}, ["RECHECK_MIN", "RECHECK_MAX"]),
        ({"GRACE": "P2D"}, ["GRACE", "ESCALATE_AFTER"]),
        ({"HTTP_TIMEOUT": "31"}, ["HTTP_TIMEOUT", "LOOK_TIMEOUT"]),
        ({"LOOK_TIMEOUT": "46"}, ["LOOK_TIMEOUT", "TASK_TIME_LIMIT"]),
        ({"TASK_TIME_LIMIT": "55"}, ["TASK_TIME_LIMIT", "VISIBILITY_TIMEOUT"]),
        ({"FALLBACK": "explicit"}, ["FALLBACK_URL", "FALLBACK"]),
        ({"OUTCOME_TASK": "their.task"}, ["OUTCOME_QUEUE", "OUTCOME_TASK"]),
        ({"USER_MAIL": "task", "MAIL_QUEUE": "theirs"}, ["MAIL_TASK", "USER_MAIL"]),
        ({"USER_MAIL": "task", "MAIL_TASK": "their.task"}, ["MAIL_QUEUE", "USER_MAIL"]),
        ({"USER_MAIL": "url"}, ["MAIL_URL", "USER_MAIL"]),
    ],
    ids=" and ".join,
)
def test_settings_that_contradict_each_other_name_both(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], named: list[str]
) -> None:
    """One sentence, both variables."""
    sentence = refusal(monkeypatch, **variables)

    assert "\n" not in sentence
    assert re.findall(r"RECONCILER_\w+", sentence) == [f"RECONCILER_{name}" for name in named]


def test_every_fault_has_its_own_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """All can be fixed at once."""
    sentences = refusal(monkeypatch, API_SHARE="2", GRACE="soon", VAULT_KEYS="x").splitlines()

    assert sorted(sentence.split()[0] for sentence in sentences) == [
        f"RECONCILER_{name}" for name in ("API_SHARE", "GRACE", "VAULT_KEYS")
    ]


def test_options_win_over_the_environment_and_that_over_a_dotenv_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`.env` is that of the working directory."""
    Path(".env").write_text(
        'RECONCILER_GRACE=PT7M\nRECONCILER_RELINK_HOSTS="a.example, b.example"\n'
        "RECONCILER_API_SHARE=0.1\nRECONCILER_UNKNOWN=1\nOTHER=2\n"
    )
    monkeypatch.setenv("RECONCILER_API_SHARE", "0.2")

    settings = load_settings()

    assert (settings.grace, settings.api_share) == (timedelta(minutes=7), 0.2)
    assert load_settings(api_share=0.3).api_share == 0.3
    assert settings.relink_hosts == ("a.example", "b.example")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CRONOFY_CLIENT_SECRET", "planted-client-secret"),
        ("VAULT_KEYS", KEY),
        ("SMTP_URL", "smtp://user:planted-password@mail.example:25"),
        ("REDIS_URL", "redis://:planted-password@localhost:6379/0"),
        ("BROKER_URL", "amqp://user:planted-password@localhost//"),
    ],
    ids=lambda value: value[:12],
)
def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """A settings object may end up in a traceback; its secrets do not."""
    monkeypatch.setenv(f"RECONCILER_{variable}", value)

    settings = load_settings()

    shown = f"{settings!r} {settings}"
    assert "planted" not in shown
    assert KEY not in shown


URLS = ("smtp SMTP_URL", "redis REDIS_URL", "amqp BROKER_URL", "https CRONOFY_API_URL", "https WEBHOOK_URL")


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(
    "value",
    [
        pytest.param("planted secret", id="no URL"),
        pytest.param("{scheme}:u:planted@host", id="no slashes"),
        pytest.param("{scheme}://u:planted@host:port", id="a bad port"),
        pytest.param("{scheme}://u:planted@host:99999", id="a port too high"),
        pytest.param("{scheme}://u:planted[@host", id="a bracket"),
        pytest.param("{scheme}://u:planted@[host]", id="a bracketed host"),
        pytest.param("{scheme}://u:planted@", id="no host"),
        pytest.param("{scheme}://u:planted℀@host", id="a character that stands for two"),
    ],
)
def test_a_refusal_repeats_no_password(monkeypatch: pytest.MonkeyPatch, url: str, value: str) -> None:
    """A mistyped URL with a password is not printed."""
    scheme, variable = url.split()
    sentence = refusal(monkeypatch, **{variable: value.format(scheme=scheme)})

    assert "planted" not in sentence
    assert sentence.startswith(f"RECONCILER_{variable} ")


ID, SECRET = "RECONCILER_CRONOFY_CLIENT_ID", "RECONCILER_CRONOFY_CLIENT_SECRET"
NEEDED = [
    ({}, f"{ID} and {SECRET}"),
    ({ID: "x"}, SECRET),
    ({SECRET: "x"}, ID),
    ({ID: "x", SECRET: " , "}, SECRET),
]


@pytest.mark.parametrize(("variables", "named"), NEEDED, ids=["neither", "no secret", "no id", "commas only"])
def test_calling_cronofy_needs_both_credentials(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], named: str
) -> None:
    """The error names what is missing."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=rf"^{named} must be set"):
        require_cronofy(load_settings())


def test_keeping_credentials_needs_a_vault_key() -> None:
    """Nothing is ever stored in plain text for lack of a key."""
    with pytest.raises(SettingsError, match=r"^RECONCILER_VAULT_KEYS must be set"):
        require_vault(load_settings())

    require_vault(load_settings(vault_keys=KEY))


def test_the_broker_is_the_ledgers_redis_unless_another_is_named() -> None:
    """One URL is enough; without any, the sentence names it."""
    assert load_settings(redis_url="redis://a").broker == "redis://a"
    assert load_settings(redis_url="redis://a", broker_url="amqp://b").broker == "amqp://b"
    with pytest.raises(SettingsError, match="RECONCILER_REDIS_URL"):
        _ = load_settings().broker


@pytest.mark.parametrize("queue", Queues.of("theirs"))
def test_outcomes_are_not_sent_to_a_queue_of_ours(queue: str) -> None:
    """Our own workers would take them and drop them."""
    with pytest.raises(SettingsError, match=r"^RECONCILER_OUTCOME_QUEUE .* our own"):
        check_outcome_queue(load_settings(key_prefix="theirs", outcome_queue=queue))

    check_outcome_queue(load_settings(outcome_queue=queue))


def test_settings_do_not_change() -> None:
    """Read once, the same for everyone; and a lease leaves a look time for its commit."""
    settings = load_settings()

    assert settings.look_timeout < settings.lease < timedelta(minutes=1)
    with pytest.raises(ValueError, match="frozen"):
        settings.grace = timedelta(0)  # type: ignore[misc]


def test_a_misspelt_name_gets_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment and in .env; what Kubernetes sets for a service of ours is not an error."""
    Path(".env").write_text("RECONCILER_SMPT_URL=smtp://user:s3cret@host\nRECONCILER_GRACE=60\n")
    monkeypatch.setenv("RECONCILER_VAULT_KEY", "s3cret")
    monkeypatch.setenv("RECONCILER_SERVE_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("RECONCILER_SERVE_PORT", "tcp://10.0.0.1:8000")

    assert misspelt_settings(load_settings()) == {
        "RECONCILER_SMPT_URL": "RECONCILER_SMTP_URL",
        "RECONCILER_VAULT_KEY": "RECONCILER_VAULT_KEYS",
    }
