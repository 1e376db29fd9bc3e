"""Settings: what is refused, by which name, and what is never shown."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from datetime import timedelta
from pathlib import Path

import pytest

from config.settings import (
    BatchCost,
    Replacement,
    Settings,
    SettingsError,
    load_settings,
    require_cronofy,
    require_vault,
)

DURATIONS = """
    HTTP_TIMEOUT LOOK_TIMEOUT SWEEP_EVERY GRACE RECHECK_MIN RECHECK_MAX ESCALATE_AFTER ESCALATE_BEFORE
    HISTORY_KEEP TASK_TIME_LIMIT VISIBILITY_TIMEOUT
"""
#: The same in each process that shares these tests: their names hold a part of it.
KEY = urlsafe_b64encode(bytes(range(32))).decode()


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment, without any setting in it (see conftest)."""
    return monkeypatch


def refusal(environ: pytest.MonkeyPatch, **variables: str) -> str:
    """What a start with these variables ends in."""
    for name, value in variables.items():
        environ.setenv(f"RECONCILER_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert caught.value.__suppress_context__
    return str(caught.value)


def test_without_any_variable_the_defaults_are_the_contracts() -> None:
    """Every default of the contract's table."""
    settings = load_settings()

    assert settings.model_dump(
        include={
            "redis_url",
            "broker_url",
            "cronofy_client_id",
            "cronofy_client_secret",
            "cronofy_api_url",
            "vault_keys",
            "api_per_second",
            "api_per_minute",
            "api_share",
            "sweep_every",
            "grace",
            "recheck_min",
            "recheck_max",
            "escalate_after",
            "escalate_before",
            "max_attempts",
            "replacement",
            "relink_reminders",
            "relink_hosts",
            "smtp_url",
            "escalation_email",
            "webhook_url",
            "history_keep",
            "outcomes_keep",
            "log_format",
            "log_level",
            "dry_run",
            "http_timeout",
            "batch_cost",
            "key_prefix",
        }
    ) == {
        "redis_url": None,
        "broker_url": None,
        "cronofy_client_id": None,
        "cronofy_client_secret": (),
        "cronofy_api_url": None,
        "vault_keys": (),
        "api_per_second": 50,
        "api_per_minute": 500,
        "api_share": 0.8,
        "sweep_every": timedelta(seconds=5),
        "grace": timedelta(minutes=2),
        "recheck_min": timedelta(seconds=30),
        "recheck_max": timedelta(hours=6),
        "escalate_after": timedelta(hours=24),
        "escalate_before": timedelta(hours=1),
        "max_attempts": 5,
        "replacement": Replacement.SAME_PROVIDER,
        "relink_reminders": (timedelta(days=1), timedelta(days=3), timedelta(days=7)),
        "relink_hosts": ("cronofy.com",),
        "smtp_url": None,
        "escalation_email": None,
        "webhook_url": None,
        "history_keep": timedelta(days=7),
        "outcomes_keep": 100_000,
        "log_format": None,
        "log_level": "info",
        "dry_run": False,
        "http_timeout": timedelta(seconds=10),
        "batch_cost": BatchCost.ITEMS,
        "key_prefix": "reconciler",
    }


GOOD = [
    ("API_PER_SECOND", "7", "api_per_second", 7),
    ("API_SHARE", "1", "api_share", 1.0),
    ("BATCH_COST", "call", "batch_cost", BatchCost.CALL),
    ("REPLACEMENT", "any_connected", "replacement", Replacement.ANY_CONNECTED),
    ("RECHECK_MIN", "PT1M", "recheck_min", timedelta(minutes=1)),
    ("RECHECK_MAX", "7200", "recheck_max", timedelta(hours=2)),
    ("RELINK_REMINDERS", "P1D, P2D", "relink_reminders", (timedelta(days=1), timedelta(days=2))),
    ("RELINK_REMINDERS", " 60 ,", "relink_reminders", (timedelta(minutes=1),)),
    ("RELINK_HOSTS", "a.example, b.example", "relink_hosts", ("a.example", "b.example")),
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
    environ: pytest.MonkeyPatch, variable: str, value: str, field: str, meant: object
) -> None:
    """Numbers, words, lists and durations as the contract spells them; an empty one is not set."""
    environ.setenv(f"RECONCILER_{variable}", value)

    assert getattr(load_settings(), field) == meant


def test_secrets_are_lists_newest_first(environ: pytest.MonkeyPatch) -> None:
    """Several while rotating, separated by commas."""
    environ.setenv("RECONCILER_CRONOFY_CLIENT_SECRET", "new, old")
    environ.setenv("RECONCILER_VAULT_KEYS", f"{KEY},{KEY}")

    settings = load_settings()

    assert [secret.get_secret_value() for secret in settings.cronofy_client_secret] == ["new", "old"]
    assert [key.get_secret_value() for key in settings.vault_keys] == [KEY, KEY]


BAD = [
    *((name, value) for name in DURATIONS.split() for value in ("soon", "-1", "P1Y")),
    *((name, value) for name in ("API_PER_SECOND", "API_PER_MINUTE") for value in ("0", "-3", "many", "1.5")),
    *(("API_SHARE", value) for value in ("0", "1.01", "-0.1", "nan", "all")),
    *(("REDIS_URL", value) for value in ("host:6379", "http://host", "redis://", "redis://h:x", "local")),
    *(("BROKER_URL", value) for value in ("broker", "amqp://", "amqp://h:x")),
    *(("CRONOFY_API_URL", value) for value in ("api.example", "ftp://api.example", "https://")),
    *(("WEBHOOK_URL", value) for value in ("hook", "ftp://hook.example")),
    *(("SMTP_URL", value) for value in ("mail.example", "http://mail.example", "smtp://", "smtp://h:x")),
    *(("VAULT_KEYS", value) for value in ("x", f"{KEY},x", KEY[:-4], KEY + "AAAA", "ü" * 43)),
    ("REPLACEMENT", "sometimes"),
    ("BATCH_COST", "nothing"),
    ("LOG_FORMAT", "xml"),
    ("LOG_LEVEL", "loud"),
    ("DRY_RUN", "perhaps"),
    ("OUTCOMES_KEEP", "0"),
    ("KEY_PREFIX", "with blank"),
    ("KEY_PREFIX", "x" * 65),
    ("RELINK_REMINDERS", "P1D,soon"),
    ("RELINK_REMINDERS", "P3D,P1D"),
    ("RELINK_REMINDERS", "P1D,P1D"),
    ("SWEEP_EVERY", "0"),
    ("RECHECK_MIN", "0"),
    ("HTTP_TIMEOUT", "0"),
    ("HISTORY_KEEP", "0"),
]


@pytest.mark.parametrize(("variable", "value"), BAD, ids=[f"{n}={v[:12]}" for n, v in BAD])
def test_a_bad_value_is_refused_in_one_sentence_that_names_its_variable(
    environ: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """The variable by its full name, what it should be, and never what it is."""
    sentence = refusal(environ, **{variable: value})

    assert re.match(rf"RECONCILER_{variable} [^\n]+\.$", sentence), sentence
    assert len(value) < 4 or value not in sentence


RELATIONS = [
    ({"RECHECK_MIN": "2", "RECHECK_MAX": "1"}, ["RECHECK_MIN", "RECHECK_MAX"]),
    ({"GRACE": "P2D"}, ["GRACE", "ESCALATE_AFTER"]),
    ({"HTTP_TIMEOUT": "31"}, ["HTTP_TIMEOUT", "LOOK_TIMEOUT"]),
    ({"LOOK_TIMEOUT": "46"}, ["LOOK_TIMEOUT", "TASK_TIME_LIMIT"]),
    ({"TASK_TIME_LIMIT": "55"}, ["TASK_TIME_LIMIT", "VISIBILITY_TIMEOUT"]),
    ({"OUTCOME_TASK": "their.task"}, ["OUTCOME_QUEUE", "OUTCOME_TASK"]),
]


@pytest.mark.parametrize(
    ("variables", "named"), RELATIONS, ids=[" and ".join(named) for _, named in RELATIONS]
)
def test_settings_that_contradict_each_other_name_both(
    environ: pytest.MonkeyPatch, variables: dict[str, str], named: list[str]
) -> None:
    """One sentence, both variables."""
    sentence = refusal(environ, **variables)

    assert "\n" not in sentence
    assert re.findall(r"RECONCILER_\w+", sentence) == [f"RECONCILER_{name}" for name in named]


def test_every_fault_has_its_own_sentence(environ: pytest.MonkeyPatch) -> None:
    """Whoever mends them need not start three times."""
    sentences = refusal(environ, API_SHARE="2", GRACE="soon", VAULT_KEYS="x").splitlines()

    assert sorted(re.findall(r"RECONCILER_\w+", "".join(sentences))) == [
        "RECONCILER_API_SHARE",
        "RECONCILER_GRACE",
        "RECONCILER_VAULT_KEYS",
    ]
    assert len(sentences) == 3


def test_a_dotenv_file_is_read_and_the_environment_wins(environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`.env` of the working directory; what the environment says counts more."""
    environ.chdir(tmp_path)
    (tmp_path / ".env").write_text(
        'RECONCILER_GRACE=PT7M\nRECONCILER_RELINK_HOSTS="a.example, b.example"\n'
        "RECONCILER_API_SHARE=0.1\nRECONCILER_UNKNOWN=1\nOTHER=2\n"
    )
    environ.setenv("RECONCILER_API_SHARE", "0.2")

    settings = load_settings()

    assert (settings.grace, settings.api_share) == (timedelta(minutes=7), 0.2)
    assert settings.relink_hosts == ("a.example", "b.example")


def test_overrides_win_over_the_environment(environ: pytest.MonkeyPatch) -> None:
    """What a command's option says counts most."""
    environ.setenv("RECONCILER_GRACE", "60")

    assert load_settings(grace=5).grace == timedelta(seconds=5)


SECRETS = {
    "CRONOFY_CLIENT_SECRET": "planted-client-secret",
    "VAULT_KEYS": KEY,
    "SMTP_URL": "smtp://user:planted-password@mail.example:25",
}
URLS = {
    "REDIS_URL": "redis://:planted-password@localhost:6379/0",
    "BROKER_URL": "amqp://user:planted-password@localhost//",
}


@pytest.mark.parametrize(
    "secrets",
    [
        pytest.param(SECRETS, id="keys"),
        pytest.param(URLS, id="URLs with passwords"),
    ],
)
def test_secrets_are_not_shown(environ: pytest.MonkeyPatch, secrets: dict[str, str]) -> None:
    """A settings object may reach a traceback; its secrets do not."""
    for name, value in secrets.items():
        environ.setenv(f"RECONCILER_{name}", value)

    settings = load_settings()

    shown = f"{settings!r} {settings}"
    assert "planted" not in shown
    assert KEY not in shown


URL_SCHEMES = {
    "SMTP_URL": "smtp",
    "REDIS_URL": "redis",
    "BROKER_URL": "amqp",
    "CRONOFY_API_URL": "https",
    "WEBHOOK_URL": "https",
}


@pytest.mark.parametrize("variable", URL_SCHEMES)
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
        pytest.param("{scheme}://u:planted℀@host", id="a letter that is two"),
    ],
)
def test_a_refusal_repeats_no_password(environ: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """A password in a URL that is mistyped is not printed."""
    sentence = refusal(environ, **{variable: value.format(scheme=URL_SCHEMES[variable])})

    assert "planted" not in sentence
    assert sentence.startswith(f"RECONCILER_{variable} ")


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        pytest.param({}, "CRONOFY_CLIENT_ID and RECONCILER_CRONOFY_CLIENT_SECRET", id="neither"),
        pytest.param({"CRONOFY_CLIENT_ID": "x"}, "CRONOFY_CLIENT_SECRET", id="no secret"),
        pytest.param({"CRONOFY_CLIENT_SECRET": "x"}, "CRONOFY_CLIENT_ID", id="no id"),
        pytest.param(
            {"CRONOFY_CLIENT_ID": "x", "CRONOFY_CLIENT_SECRET": " , "},
            "CRONOFY_CLIENT_SECRET",
            id="commas only",
        ),
    ],
)
def test_calling_cronofy_needs_both_credentials(
    environ: pytest.MonkeyPatch, variables: dict[str, str], named: str
) -> None:
    """What is missing is named."""
    for name, value in variables.items():
        environ.setenv(f"RECONCILER_{name}", value)

    with pytest.raises(SettingsError, match=rf"^RECONCILER_{named} must be set"):
        require_cronofy(load_settings())


def test_keeping_credentials_needs_a_vault_key() -> None:
    """Nothing is ever kept in plain text for want of one."""
    with pytest.raises(SettingsError, match=r"^RECONCILER_VAULT_KEYS must be set"):
        require_vault(load_settings())

    require_vault(load_settings(vault_keys=KEY))


def test_the_broker_is_the_ledgers_redis_unless_another_is_named() -> None:
    """One URL is enough; without any, the sentence names it."""
    assert load_settings(redis_url="redis://a").broker == "redis://a"
    assert load_settings(redis_url="redis://a", broker_url="amqp://b").broker == "amqp://b"
    with pytest.raises(SettingsError, match="RECONCILER_REDIS_URL"):
        _ = load_settings().broker


def test_a_lease_outlives_a_look() -> None:
    """There is room for the commit."""
    settings = load_settings()

    assert settings.look_timeout < settings.lease < timedelta(minutes=1)


def test_settings_do_not_change() -> None:
    """Read once, the same for all."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().grace = timedelta(0)  # type: ignore[misc]
