"""How a line of the log reads: what it is about in front, where it came from at the end."""

from __future__ import annotations

import json
import logging
import re

import pytest
import structlog

from tests.unit.test_logging import Lines, logger, restored

__all__ = ["restored"]


@pytest.fixture
def json_lines(restored: None) -> Lines:
    """Logging as a fleet has it."""
    return Lines("json")


@pytest.fixture
def console(restored: None) -> Lines:
    """Logging as on a terminal."""
    return Lines("console")


def say() -> None:
    """A line as tasks say it, its parts in no order."""
    with structlog.contextvars.bound_contextvars(task="conferencing.look_at_ready", task_id="t1"):
        logger().info(
            "event.diagnosed",
            cause=None,
            outcomes=[],
            state="pending",
            attempts=0,
            event_id="booking-77",
            calendar_id="cal_1",
            sub="acc_1",
        )


def test_json_has_the_ids_in_front(json_lines: Lines) -> None:
    """Time, level and event, then whom it is about, then the rest as it was said, then the task."""
    say()

    [line] = json_lines.records()
    assert list(line) == [
        *("timestamp", "level", "event", "sub", "calendar_id", "event_id"),
        *("cause", "outcomes", "state", "attempts", "task", "task_id"),
    ]
    assert line["cause"] is None


def test_the_console_leaves_out_what_says_nothing(console: Lines) -> None:
    """The time of day, the event in a column of its own, ids in full, no empty field."""
    say()

    text = re.sub(r"\x1b\[[0-9;]*m", "", console.text())
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3}Z \[info +\] event\.diagnosed +"
        r"sub=acc_1 calendar_id=cal_1 event_id=booking-77 state=pending attempts=0 "
        r"task=look_at_ready task_id=t1 *(\[test\])?\n",
        text,
    )


def test_events_of_different_length_are_aligned(console: Lines) -> None:
    """The fields of one line begin where those of the next one do."""
    logger().info("mail.sent", sub="a")
    logger().warning("event.changed_meanwhile", sub="a")

    starts = {line.index("sub=") for line in console.text().splitlines()}
    assert len(starts) == 1


@pytest.mark.parametrize("name", ["celery.worker.request", "celery.apps.worker", "celery.beat"])
def test_what_the_libraries_say_of_each_message_is_left_out(json_lines: Lines, name: str) -> None:
    """Until it is a warning."""
    logging.getLogger(name).info("Discarding revoked task: conferencing.sweep[1]")
    logging.getLogger(name).warning("beware")

    assert [line["event"] for line in json_lines.records()] == ["beware"]


def test_a_line_within_a_span_carries_its_ids(json_lines: Lines) -> None:
    """So that a trace leads to its lines, and they to it; without a span they are not there."""
    trace = pytest.importorskip("opentelemetry.sdk.trace", reason="the extra otel is not installed")
    with (
        trace.TracerProvider(shutdown_on_exit=False).get_tracer("test").start_as_current_span("task") as span
    ):
        say()
    say()

    inside, outside = json_lines.records()
    assert inside["trace_id"] == f"{span.get_span_context().trace_id:032x}"
    assert list(inside)[-2:] == ["trace_id", "span_id"]
    assert "trace_id" not in outside
    assert json.dumps(outside)
