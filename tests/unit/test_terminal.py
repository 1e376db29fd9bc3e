"""What came from outside is shown so that it cannot act on a terminal."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from config.terminal import shown, shown_lines
from tests.hostile import ACTING, SURROGATE, harmless
from tests.unit.test_logging import Lines, logger


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ü 😀 \u00a0", "plain ü 😀 \u00a0"),
        ("a\x1b[2J", "a\\u001b[2J"),
        ("two\nlines\t", "two\\nlines\\t"),
        ("\u202e\x9b\x7f", "\\u202e\\u009b\\u007f"),
        ("\udc1b\U000e0041", "\\udc1b\\udb40\\udc41"),
        ("👩\u200d🚀", "👩\u200d🚀"),
    ],
)
def test_what_acts_is_escaped_and_the_rest_stays(text: str, expected: str) -> None:
    """Letters, emoji and their joiners stay."""
    assert shown(text) == expected
    assert shown_lines(f"{text}\n") == f"{shown_lines(text)}\n"


def test_json_stays_the_same_json() -> None:
    """The escapes are JSON's own."""
    value = {ACTING: [ACTING, "👩\u200d🚀"]}

    assert json.loads(shown(json.dumps(value, ensure_ascii=False))) == value


def _crash(text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError:
        logger().exception("look.crashed")


@pytest.mark.parametrize("text", [ACTING, ACTING.replace(" ", "_"), f"x{SURROGATE}"])
@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize(
    "say",
    [
        pytest.param(lambda text: logger().info("thing.done", sub=text), id="a field"),
        pytest.param(lambda text: logger().info(text), id="the event"),
        pytest.param(lambda text: logger().info("thing.done", deep={text: [text, (text,)]}), id="nested"),
        pytest.param(lambda text: logger().info("thing.done", error=ValueError(text)), id="an error"),
        pytest.param(lambda text: logging.getLogger("library").warning("%s", text), id="a library"),
        pytest.param(_crash, id="a traceback"),
    ],
)
def test_no_form_of_the_log_lets_it_act(log_format: str, say: Any, text: str) -> None:
    """One line stays one line; only a traceback on a terminal shows an error's own line feeds."""
    lines = Lines(log_format)

    say(text)

    said = lines.text()
    if say is _crash and log_format == "console":
        assert "Traceback" in said
        said = said.replace("\n", " ")
    assert harmless(said), ascii(said)
