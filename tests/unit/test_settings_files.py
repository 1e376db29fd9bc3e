"""Settings in files: one file for each secret, and `.env`. What cannot be read stops the start by name."""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from config.settings import SettingsError, load_settings, misspelt_settings

KEYS = tuple(urlsafe_b64encode(bytes([number]) * 32).decode() for number in (1, 2))


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory that RECONCILER_SECRETS_DIR names."""
    place = tmp_path / "secrets"
    place.mkdir()
    monkeypatch.setenv("RECONCILER_SECRETS_DIR", str(place))
    return place


def refused() -> str:
    """The one sentence of a start that is refused."""
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__
    return str(caught.value)


def plain(value: Any) -> Any:
    """A setting's value with its secrets in the open."""
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    return value.get_secret_value() if isinstance(value, SecretStr) else value


# One file for each secret.

FILES = [
    ("VAULT_KEYS", ",".join(KEYS), "vault_keys", KEYS),
    ("VAULT_KEYS", "\n".join(KEYS) + "\n", "vault_keys", KEYS),
    ("CRONOFY_CLIENT_SECRET", "new\r\nold\r\n", "cronofy_client_secret", ("new", "old")),
    ("REDIS_URL", "rediss://u:p@host:6379/0\n", "redis_url", "rediss://u:p@host:6379/0"),
    ("BROKER_URL", "amqps://u:p@host:5671/v", "broker_url", "amqps://u:p@host:5671/v"),
    ("SMTP_URL", "smtps://u:p@host:465\n", "smtp_url", "smtps://u:p@host:465"),
    ("BOARD_TOKEN", "a board token of some length\n", "board_token", "a board token of some length"),
    ("BOARD_TOKEN", "\n", "board_token", None),
    ("METRICS_TOKEN", "a token of the metrics\n", "metrics_token", "a token of the metrics"),
]


@pytest.mark.parametrize("spelt", [str.upper, str.lower])
@pytest.mark.parametrize(
    ("variable", "text", "field", "meant"), FILES, ids=[f"{row[0]} {n}" for n, row in enumerate(FILES)]
)
def test_a_secret_comes_from_the_file_of_its_name(
    secrets: Path, spelt: Callable[[str], str], variable: str, text: str, field: str, meant: object
) -> None:
    """In either case, without the newline at its end; several are one on a line, or separated by commas."""
    (secrets / spelt(f"RECONCILER_{variable}")).write_text(text, newline="")

    assert plain(getattr(load_settings(), field)) == meant


def test_the_environment_wins_over_dotenv_and_that_over_a_secret_file(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty value counts as not set, wherever it is."""
    for name in ("REDIS_URL", "BROKER_URL", "SMTP_URL"):
        scheme = "smtp" if name == "SMTP_URL" else "redis"
        (secrets / f"RECONCILER_{name}").write_text(f"{scheme}://file")
    Path(".env").write_text("RECONCILER_REDIS_URL=redis://dotenv\nRECONCILER_BROKER_URL=redis://dotenv\n")
    monkeypatch.setenv("RECONCILER_REDIS_URL", "redis://environment")
    monkeypatch.setenv("RECONCILER_SMTP_URL", "")

    settings = load_settings()

    assert (settings.redis_url, settings.broker_url) == ("redis://environment", "redis://dotenv")
    assert settings.smtp_url is not None
    assert settings.smtp_url.get_secret_value() == "smtp://file"


def test_dotenv_may_name_the_directory(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As any other setting."""
    monkeypatch.delenv("RECONCILER_SECRETS_DIR")
    Path(".env").write_text(f"RECONCILER_SECRETS_DIR={secrets}\n")
    (secrets / "RECONCILER_BOARD_TOKEN").write_text("0123456789abcdef")

    assert load_settings().board_token is not None


def test_a_secret_volume_of_kubernetes_is_read(secrets: Path) -> None:
    """Its files are links into a hidden directory that is swapped when the secret changes."""
    (secrets / "..2026_01_01").mkdir()
    (secrets / "..2026_01_01" / "RECONCILER_REDIS_URL").write_text("redis://host")
    (secrets / "..data").symlink_to("..2026_01_01")
    (secrets / "RECONCILER_REDIS_URL").symlink_to("..data/RECONCILER_REDIS_URL")

    assert load_settings().redis_url == "redis://host"


def _no_directory(place: Path) -> None:
    place.rmdir()


def _a_file(place: Path) -> None:
    place.rmdir()
    place.write_text("x")


def _directory_inside(place: Path) -> None:
    (place / "RECONCILER_VAULT_KEYS").mkdir()


def _dangling(place: Path) -> None:
    (place / "RECONCILER_VAULT_KEYS").symlink_to("nowhere")


def _loop(place: Path) -> None:
    (place / "RECONCILER_VAULT_KEYS").symlink_to("RECONCILER_VAULT_KEYS")


def _outside(place: Path) -> None:
    (place.parent / "elsewhere").write_text(KEYS[0])
    (place / "RECONCILER_VAULT_KEYS").symlink_to("../elsewhere")


def _utf16(place: Path) -> None:
    (place / "RECONCILER_VAULT_KEYS").write_text(KEYS[0], encoding="utf-16")


def _marked(place: Path) -> None:
    (place / "RECONCILER_VAULT_KEYS").write_text(KEYS[0], encoding="utf-8-sig")


BROKEN = [
    (_no_directory, "", "No such file"),
    (_a_file, "", "Not a directory"),
    (_directory_inside, "/RECONCILER_VAULT_KEYS", "directory"),
    (_dangling, "/RECONCILER_VAULT_KEYS", "No such file"),
    (_loop, "/RECONCILER_VAULT_KEYS", "symbolic links"),
    (_outside, "/RECONCILER_VAULT_KEYS", "outside"),
    (_utf16, "/RECONCILER_VAULT_KEYS", "UTF-8"),
    (_marked, "/RECONCILER_VAULT_KEYS", "byte order mark"),
]


@pytest.mark.parametrize(
    ("spoil", "named", "why"), BROKEN, ids=[row[0].__name__.strip("_") for row in BROKEN]
)
def test_a_secret_that_cannot_be_read_is_named(
    secrets: Path, spoil: Callable[[Path], None], named: str, why: str
) -> None:
    """The path and the reason, and nothing of the content."""
    spoil(secrets)

    sentence = refused()

    assert f"{secrets}{named}" in sentence
    assert why in sentence
    assert KEYS[0] not in sentence


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["", "RECONCILER_VAULT_KEYS"], ids=["directory", "file"])
def test_a_secret_without_the_right_to_read_it_is_named(secrets: Path, name: str) -> None:
    """As Docker mounts it for another user."""
    (secrets / "RECONCILER_VAULT_KEYS").write_text(KEYS[0])
    (secrets / name).chmod(0)
    try:
        sentence = refused()
    finally:
        (secrets / name).chmod(0o700)

    assert f"{secrets / name} cannot be read: Permission denied" in sentence


def test_other_files_in_the_directory_are_left_alone(secrets: Path) -> None:
    """It may hold what is not ours, in any form."""
    (secrets / "postgres.key").write_bytes(b"\xff\xfe")
    (secrets / "folder").mkdir()

    assert load_settings().vault_keys == ()


def test_a_misspelt_file_gets_a_suggestion(secrets: Path) -> None:
    """Also one whose name lacks the prefix."""
    for name in ("RECONCILER_VAULT_KEY", "reconciler_smpt_url", "cronofy_client_secret", "postgres"):
        (secrets / name).write_text("s3cret")

    assert misspelt_settings(load_settings()) == {
        "CRONOFY_CLIENT_SECRET": "RECONCILER_CRONOFY_CLIENT_SECRET",
        "RECONCILER_SMPT_URL": "RECONCILER_SMTP_URL",
        "RECONCILER_VAULT_KEY": "RECONCILER_VAULT_KEYS",
    }


@pytest.mark.parametrize(
    "variable", ["REDIS_URL", "BROKER_URL", "SMTP_URL", "CRONOFY_API_URL", "WEBHOOK_URL"]
)
def test_two_lines_are_no_url(secrets: Path, variable: str) -> None:
    """Python would drop the line break and take the rest for one address."""
    scheme = {"SMTP_URL": "smtp", "CRONOFY_API_URL": "https", "WEBHOOK_URL": "https"}.get(variable, "redis")
    (secrets / f"RECONCILER_{variable}").write_text(f"{scheme}://one\n{scheme}://two\n")

    assert refused().startswith(f"RECONCILER_{variable} ")


# The file .env.

LINES = [
    ("RECONCILER_REDIS_URL: redis://host\n", 1),
    ("# a comment\n\n\nRECONCILER_REDIS_URL:redis://host\n", 4),
    ("RECONCILER_GRACE=60\nRECONCILER_REDIS_URL\n", 2),
    ("export RECONCILER_REDIS_URL\n", 1),
    ('RECONCILER_GRACE=60\n\nRECONCILER_REDIS_URL="redis://host\n', 3),
    ("RECONCILER_REDIS_URL='redis://host\nRECONCILER_GRACE=60\n", 1),
    ('RECONCILER_MAIL_FROM="me\nRECONCILER_REDIS_URL=redis://host\nOTHER="\n', 1),
    ('OTHER="me\nexport RECONCILER_REDIS_URL=redis://host\nANOTHER="\n', 1),
    ("OTHER: 7\nRECONCILER_REDIS_URL=redis://host\n", 1),
    ('RECONCILER_REDIS_URL="redis://host" /0\n', 1),
    ("=redis://host\n", 1),
]


@pytest.mark.parametrize(("text", "line"), LINES, ids=[text.split("redis:")[0].strip() for text, _ in LINES])
def test_a_line_of_dotenv_that_cannot_be_read_stops_the_start(text: str, line: int) -> None:
    """By file and line: what it was to set would otherwise count as not set."""
    Path(".env").write_text(text)

    sentence = refused()

    assert f"{Path('.env').absolute()}, line {line}, " in sentence
    assert "redis://" not in sentence


def _folder() -> None:
    Path(".env").mkdir()


def _link() -> None:
    Path(".env").symlink_to("nowhere")


def _latin() -> None:
    Path(".env").write_bytes("RECONCILER_MAIL_FROM=Jürgen <j@example.org>\n".encode("latin-1"))


def _windows() -> None:
    Path(".env").write_text("RECONCILER_REDIS_URL=redis://host\n", encoding="utf-16")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [(_folder, "Is a directory"), (_link, "No such file"), (_latin, "UTF-8"), (_windows, "UTF-8")],
    ids=["a folder", "a dangling link", "latin-1", "utf-16"],
)
def test_a_dotenv_that_cannot_be_read_stops_the_start(spoil: Callable[[], None], why: str) -> None:
    """Docker makes a folder of a file that is not there."""
    spoil()

    sentence = refused()

    assert sentence.startswith(f"{Path('.env').absolute()} cannot be read: ")
    assert why in sentence


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffRECONCILER_REDIS_URL=redis://host\n",
        "RECONCILER_REDIS_URL = redis://host # the ledger\r\n",
        "export RECONCILER_REDIS_URL='redis://host'\nOTHER\nMORE='two\nlines'\n",
        "\n# only this:\n\nRECONCILER_REDIS_URL=redis://host",
    ],
    ids=["byte order mark", "blanks and a comment", "export, and others' lines", "no newline at the end"],
)
def test_a_dotenv_in_any_usual_form_is_read(text: str) -> None:
    """As shells, editors and Compose write it."""
    Path(".env").write_text(text, encoding="utf-8", newline="")

    assert load_settings().redis_url == "redis://host"
