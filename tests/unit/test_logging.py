"""Logging: no secret reaches a line, whoever writes it; and how a line looks."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from cryptography.fernet import Fernet

from config.logging import MASK, Redaction, configure_logging
from config.settings import load_settings

KEY = Fernet.generate_key().decode()
CLIENT_SECRET = "planted-client-secret"
RELINK = "https://app.cronofy.com/v2/relink/zoom?email=dana%40example.org&token=planted-relink"
BEARER = "planted-bearer-token"
URL = "redis://user:planted-password@localhost:6379/0"
SECRETS = [CLIENT_SECRET, KEY, "planted-relink", "dana%40example.org", BEARER, "planted-password"]
SENTENCES = [
    pytest.param(f"posted {CLIENT_SECRET} away", id="client secret"),
    pytest.param(f"sealed with {KEY}", id="vault key"),
    pytest.param(f"see {RELINK} now", id="relink URL"),
    pytest.param(f"Authorization: Bearer {BEARER}", id="bearer"),
    pytest.param(f"authorization: bearer {BEARER}", id="bearer in lower case"),
    pytest.param(f"cannot reach {URL}", id="URL with a password"),
    pytest.param(f"'{RELINK}' \"{URL}\" <Bearer {BEARER}>", id="in quotes"),
]


class Lines:
    """Logging as the program configures it, and what it wrote to standard error."""

    def __init__(self, log_format: str = "json", **settings: Any) -> None:
        given = {"cronofy_client_secret": f"{CLIENT_SECRET},another-secret", "vault_keys": KEY, **settings}
        self._stream = io.StringIO()
        with contextlib.redirect_stderr(self._stream):
            configure_logging(load_settings(log_format=log_format, **given))

    def text(self) -> str:
        return self._stream.getvalue()

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture(params=["json", "console"])
def lines(request: pytest.FixtureRequest) -> Lines:
    return Lines(request.param)


def logger() -> Any:
    return structlog.get_logger("test")


def clean(text: str) -> bool:
    """Whether the text contains no planted secret."""
    return not [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize("sentence", SENTENCES)
@pytest.mark.parametrize(
    "say",
    [
        pytest.param(lambda text: logger().info("thing.done", text=text), id="a field"),
        pytest.param(lambda text: logger().info(text), id="the event"),
        pytest.param(lambda text: logger().info("thing.done", deep={"a": [{"b": (text,)}]}), id="nested"),
        pytest.param(lambda text: logging.getLogger("library").warning(text), id="a library"),
        pytest.param(lambda text: logging.getLogger("library").warning("%s", text), id="a library's arg"),
    ],
)
def test_a_secret_is_masked_wherever_it_appears(
    lines: Lines, say: Callable[[str], None], sentence: str
) -> None:
    """By value or shape, and the rest of the line stays."""
    say(sentence)

    text = lines.text()
    assert clean(text)
    assert MASK in text


@pytest.mark.parametrize(
    "value",
    [RuntimeError(f"Bearer {BEARER}"), f"Bearer {BEARER}".encode(), {RELINK}, {RELINK: 1}],
    ids=["an exception", "bytes", "a set", "a key"],
)
def test_a_secret_is_masked_in_other_types(lines: Lines, value: object) -> None:
    """A renderer also writes these."""
    logger().info("thing.done", value=value)

    assert clean(lines.text())


def _raise() -> None:
    try:
        raise ValueError(f"first {URL}")
    except ValueError as error:
        raise RuntimeError(f"then {CLIENT_SECRET}, {KEY}, {RELINK} and Bearer {BEARER}") from error


@pytest.mark.parametrize("library", [False, True], ids=["ours", "a library's"])
def test_secrets_in_a_traceback_are_masked(
    lines: Lines, recwarn: pytest.WarningsRecorder, library: bool
) -> None:
    """The whole chain of causes is written without secrets, and structlog issues no warning."""
    try:
        _raise()
    except RuntimeError:
        (logging.getLogger("library") if library else logger()).exception("look.crashed")

    text = lines.text()
    assert [word for word in ("look.crashed", "ValueError", "RuntimeError") if word not in text] == []
    assert clean(text)
    assert text.count(MASK) >= len(SECRETS) - 1
    assert len(recwarn) == 0


def test_what_a_library_adds_to_its_lines_is_not_written() -> None:
    """Celery adds the arguments of a failed task, tokens and all."""
    lines = Lines()
    logging.getLogger("celery.app").warning("failed", extra={"data": {"kwargs": "planted"}})

    (record,) = lines.records()
    assert sorted(record) == ["event", "level", "timestamp"]


def test_a_line_that_cannot_be_formatted_shows_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    """A library's wrong format string does not bypass the masking."""
    lines = Lines()
    logging.getLogger("library").warning("%d seconds", CLIENT_SECRET)

    assert clean(capsys.readouterr().err + lines.text())


@pytest.mark.parametrize(
    "name", ["access_token", "refresh_token", "client_secret", "authorization", "signature", "relink_url"]
)
def test_a_field_with_a_secret_name_is_always_masked(name: str) -> None:
    """At any depth."""
    lines = Lines()
    logger().info("thing.done", **{name: "plain"}, deep={"kwargs": [{name: 7}]})

    (record,) = lines.records()
    assert (record[name], record["deep"]) == (MASK, {"kwargs": [{name: MASK}]})


def say(**fields: Any) -> None:
    """A line as tasks log it, its fields in no particular order."""
    with structlog.contextvars.bound_contextvars(task="conferencing.look_at_ready", task_id="t1"):
        ids = {"event_id": "booking-77", "calendar_id": "cal_1", "sub": "acc_1"}
        logger().info(
            "event.diagnosed", cause=None, outcomes=[], state="pending", attempts=0, **ids, **fields
        )


def test_json_has_the_ids_in_front() -> None:
    """One object per line: time, level and event, then the ids, then the rest, then the task."""
    lines = Lines()
    say(text="two\nlines, ü")

    [record] = lines.records()
    assert record.pop("timestamp").endswith("Z")
    assert list(record.items()) == [
        *(("level", "info"), ("event", "event.diagnosed"), ("sub", "acc_1"), ("calendar_id", "cal_1")),
        *(("event_id", "booking-77"), ("cause", None), ("outcomes", []), ("state", "pending")),
        *(
            ("attempts", 0),
            ("text", "two\nlines, ü"),
            ("task", "conferencing.look_at_ready"),
            ("task_id", "t1"),
        ),
    ]


def test_the_console_omits_empty_fields() -> None:
    """The time of day, the event in its own column, full ids, no empty field."""
    lines = Lines("console")
    say()
    logger().warning("mail.sent", sub="acc_1")

    said, other = re.sub(r"\x1b\[[0-9;]*m", "", lines.text()).splitlines()
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3}Z \[info +\] event\.diagnosed +"
        r"sub=acc_1 calendar_id=cal_1 event_id=booking-77 state=pending attempts=0 "
        r"task=look_at_ready task_id=t1 *(\[test\])?",
        said,
    )
    assert said.index("sub=") == other.index("sub=")


def test_a_line_within_a_span_carries_its_ids() -> None:
    """They link a trace and its lines; without a span they are absent."""
    lines = Lines()
    trace = pytest.importorskip("opentelemetry.sdk.trace", reason="the extra otel is not installed")
    tracer = trace.TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("task") as span:
        say()
    say()

    inside, outside = lines.records()
    assert inside["trace_id"] == f"{span.get_span_context().trace_id:032x}"
    assert list(inside)[-2:] == ["trace_id", "span_id"]
    assert "trace_id" not in outside


@pytest.mark.parametrize(
    ("level", "said"), [("debug", "diw"), ("info", "iw"), ("warning", "w"), ("error", "")]
)
def test_the_level_is_kept(level: str, said: str) -> None:
    """Lines below it are not written."""
    lines = Lines(log_level=level)

    logger().debug("d")
    logger().info("i")
    logger().warning("w")

    assert "".join(record["event"] for record in lines.records()) == said


@pytest.mark.parametrize(
    "name",
    [
        *("httpx", "httpcore", "kombu", "amqp"),
        *("celery.beat", "celery.worker.request", "celery.apps.worker"),
    ],
)
def test_chatty_libraries_log_from_warning_on(name: str) -> None:
    """INFO lines for every request, message and tick would drown the rest."""
    lines = Lines()
    logging.getLogger(name).info("GET %s", URL)
    logging.getLogger(name).warning("trouble")

    assert [record["event"] for record in lines.records()] == ["trouble"]


@pytest.mark.parametrize(
    ("secrets", "text", "masked"),
    [
        pytest.param(["abc", ""], "alphabet abc", "alphabet abc", id="too short to be looked for"),
        pytest.param(
            ["secret-1", "secret-1-2027"], "x secret-1-2027 y", f"x {MASK} y", id="one begins another"
        ),
        pytest.param([], "https://api.cronofy.com/v1/events?tzid=Etc/UTC", None, id="a URL without a token"),
        pytest.param([], "redis://localhost:6379/0", None, id="a URL without a password"),
        pytest.param([], "dana@example.org wrote at 10:30", None, id="an address"),
        pytest.param([], "a bearer of news", f"a bearer {MASK} news", id="a word that looks like a header"),
    ],
)
def test_only_secrets_are_masked_and_completely(secrets: list[str], text: str, masked: str | None) -> None:
    """Ordinary words, and URLs without a password or a token, stay readable."""
    assert Redaction(secrets).mask(text) == (masked or text)
