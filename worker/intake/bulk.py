"""Bulk import: events to track, or accounts to connect, from JSON lines."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from queue import Full, Queue
from typing import BinaryIO, TypeVar

from rich.progress import Progress

from config.logging import configure_logging
from config.settings import Settings
from config.terminal import shown
from worker.bootstrap import Services, bootstrap
from worker.intake.payloads import BadPayload, Payload, parse

P = TypeVar("P", bound=Payload)


#: How many the ledger is handed at once, at most: it does nothing else meanwhile.
AT_ONCE = 100


def import_lines(
    settings: Settings,
    lines: BinaryIO,
    model: type[P],
    take: Callable[[Services, Sequence[P]], object],
    progress: Progress,
) -> tuple[int, int]:
    """Hand every good line to `take`, in order; returns how many were imported and how many refused.

    `progress` shows how far it is, from the field `read`: above it stand the number of each refused line and
    the reason, without its values. The lines are read once, so they may come from a pipe. Importing twice
    does no harm.
    """
    configure_logging(settings.model_copy(update={"log_level": "warning"}))
    imported = refused = 0
    with (
        closing(bootstrap(settings)) as services,
        progress,
        _handing_over(partial(take, services)) as hand_over,
    ):
        task = progress.add_task("", total=_size(lines), read=0)
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    hand_over(parse(model, (), _content(line)))
                    imported += 1
                except BadPayload as error:
                    refused += 1
                    progress.console.print(shown(f"line {number}: {error}"), markup=False, highlight=False)
            progress.update(task, advance=len(line), read=number)
    return imported, refused


@contextmanager
def _handing_over(take: Callable[[Sequence[P]], object]) -> Iterator[Callable[[P], None]]:
    """Take in a thread, while others are read: as many at once as have come meanwhile.

    So none waits for more to come. All are taken at the end; what `take` raises is raised then or earlier.
    """
    waiting: Queue[P | None] = Queue(2 * AT_ONCE)

    def work() -> None:
        ended = False
        while not ended:
            found = [waiting.get()]
            while len(found) < AT_ONCE and not waiting.empty():
                found.append(waiting.get())
            ended = found[-1] is None
            batch = [each for each in found if each is not None]
            if batch:
                take(batch)

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)

        def hand_over(payload: P | None) -> None:
            while not working.done():
                with suppress(Full):
                    return waiting.put(payload, timeout=1)
            return working.result()

        try:
            yield hand_over
        finally:
            hand_over(None)
        working.result()


def _size(lines: BinaryIO) -> int | None:
    """The bytes to read; None if only the end will tell, as with a pipe."""
    found = os.fstat(lines.fileno())
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _content(line: bytes) -> dict[str, object]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        raise BadPayload("This is not JSON.") from None
    if not isinstance(content, dict):
        raise BadPayload("This is not a JSON object.")
    return content
