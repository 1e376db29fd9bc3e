"""Celery's worker as a program, without running one."""

from __future__ import annotations

from threading import Thread

from celery.signals import worker_shutting_down

import worker.broker.program  # noqa: F401 - what is shown here is what it does to Celery


def test_a_signal_within_the_handler_of_another_is_handled() -> None:
    """The second handler runs on top of the first, which may just hold the lock that both take."""
    asked: list[str] = []

    def ask(sender: str, **_: object) -> None:
        asked.append(sender)

    def handle_within() -> None:
        with worker_shutting_down.lock:  # type: ignore[attr-defined]
            worker_shutting_down.send(sender="worker")

    worker_shutting_down.connect(ask, weak=False)
    thread = Thread(target=handle_within, daemon=True)
    thread.start()
    thread.join(5)

    assert asked == ["worker"]
    worker_shutting_down.disconnect(ask)
