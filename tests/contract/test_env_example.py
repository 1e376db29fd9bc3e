"""`.env.example` shows every setting once, with the code's default."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from cryptography.fernet import Fernet

from config.settings import PREFIX, Settings, load_settings, require_cronofy, require_vault

EXAMPLE = (Path(__file__).parents[2] / ".env.example").read_text(encoding="utf-8")
#: The variables that must be filled in; they are not commented out.
REQUIRED = {"VAULT_KEYS", "CRONOFY_CLIENT_ID", "CRONOFY_CLIENT_SECRET"}
_LINE = re.compile(rf"^(?P<off>#?){PREFIX}(?P<name>[A-Z_]+)=(?P<value>.*)$", re.MULTILINE)
SHOWN = [(m["name"], m["value"], bool(m["off"])) for m in _LINE.finditer(EXAMPLE)]


def test_every_setting_appears_exactly_once_and_in_the_order_of_the_code() -> None:
    """Adding, renaming or moving a setting requires the same here."""
    assert [name for name, _, _ in SHOWN] == [field.upper() for field in Settings.model_fields]


def test_only_what_has_to_be_filled_in_is_not_commented_out() -> None:
    """A copy of the file changes no default."""
    assert {name for name, _, off in SHOWN if not off} == REQUIRED


def test_every_setting_has_its_meaning_on_the_line_above() -> None:
    """Every setting has a comment."""
    pairs = itertools.pairwise(EXAMPLE.splitlines())

    assert [line for above, line in pairs if _LINE.match(line) and not above.startswith("# ")] == []


def test_the_file_is_a_valid_env_file_once_the_required_are_filled_in() -> None:
    """Copied to `.env` and filled in, it starts the program."""
    values = dict.fromkeys(REQUIRED, "filled-in") | {"VAULT_KEYS": Fernet.generate_key().decode()}
    text = _LINE.sub(lambda m: m[0] if m["off"] else m[0] + values[m["name"]], EXAMPLE)
    Path(".env").write_text(text, encoding="utf-8")

    settings = load_settings()

    require_cronofy(settings)
    require_vault(settings)
    assert settings.cronofy_client_id == "filled-in"


def test_the_file_with_every_default_switched_on_changes_nothing() -> None:
    """Each default shown may be uncommented as it is."""
    Path(".env").write_text(_LINE.sub(lambda m: m[0].removeprefix("#"), EXAMPLE), encoding="utf-8")

    assert load_settings() == Settings()
