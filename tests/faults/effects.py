"""Counts every side effect of a process, and lets one fail, or kill the process.

A side effect is a Redis command, an HTTP call, a step of an SMTP conversation or the publishing of a message.
They are intercepted above the clients' own retries: what fails here has failed for good.
"""

from __future__ import annotations

import hashlib
import os
import smtplib
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar
from unittest.mock import patch

import httpx
from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from worker.bootstrap import Services
from worker.ledger.keys import source

T = TypeVar("T")

#: The exit code of a process killed by a glitch.
DEAD = 77


@dataclass(frozen=True, slots=True)
class Glitch:
    """What happens at which side effect: counted from 1, before or after it takes place."""

    number: int
    after: bool
    #: The process ends at once, without cleanup; otherwise an exception is raised.
    death: bool

    def __str__(self) -> str:
        what = "death" if self.death else "failure"
        return f"{what} {'after' if self.after else 'before'} effect {self.number}"


class Effects:
    """The side effects so far, by name, and the glitch that hits one of them."""

    def __init__(self, glitch: Glitch | None = None) -> None:
        self._glitch = glitch
        self.names: list[str] = []

    def meet(self, name: str, act: Callable[[], T], error: Exception) -> T:
        """Carry out a side effect, unless the glitch is due."""
        self.names.append(name)
        glitch = self._glitch
        if glitch is None or glitch.number != len(self.names):
            return act()
        if glitch.after:
            done = act()
            if isinstance(done, socket.socket):
                done.close()
            if isinstance(done, httpx.Response):
                # The request was carried out and answered, even if the answer is then lost.
                done.read()
        if glitch.death:
            os._exit(DEAD)
        raise error

    @property
    def struck(self) -> bool:
        return self._glitch is not None and len(self.names) >= self._glitch.number


@contextmanager
def counted(
    effects: Effects, services: Services, app: Celery, publish: Callable[[str, dict[str, Any]], None]
) -> Iterator[None]:
    """Within this block all side effects of `services`, and messages of `app`, pass through `effects`.

    Messages go to `publish` (task, kwargs) in place of a broker.
    """
    redis: Any = services.ledger.redis
    execute, scripts = redis.execute_command, names_of_scripts()

    def command(*args: Any, **options: Any) -> Any:
        name = scripts[args[1]] if args[0] == "EVALSHA" else str(args[0])
        return effects.meet(f"Redis {name}", lambda: execute(*args, **options), _lost())

    def message(task: str, args: Any = None, kwargs: Any = None, **_: Any) -> None:
        lost = OperationalError("The broker cannot be reached.")
        return effects.meet(f"publish {task}", lambda: publish(task, dict(kwargs or {})), lost)

    with ExitStack() as patched:
        patched.enter_context(patch.object(redis, "execute_command", command))
        patched.enter_context(patch.object(app, "send_task", message))
        client = services.looker.cronofy.http._http
        patched.enter_context(patch.object(client, "send", _http(effects, client.send)))
        for step in ("connect", "mail", "rcpt", "data", "quit"):
            act = _smtp(effects, step, getattr(smtplib.SMTP, step))
            patched.enter_context(patch.object(smtplib.SMTP, step, act))
        yield


@contextmanager
def answers_counted(effects: Effects, services: Services) -> Iterator[None]:
    """Within this block Redis's answers pass through `effects`, below the client's own retry.

    Losing an answer after its command took effect makes the client send that command again.
    """
    redis: Any = services.ledger.redis
    execute, parse, scripts = redis.execute_command, redis.parse_response, names_of_scripts()
    name = ""

    def command(*args: Any, **options: Any) -> Any:
        nonlocal name
        name = f"Redis {scripts[args[1]] if args[0] == 'EVALSHA' else args[0]}"
        return execute(*args, **options)

    def answer(*args: Any, **options: Any) -> Any:
        return effects.meet(name, lambda: parse(*args, **options), _lost())

    with patch.object(redis, "execute_command", command), patch.object(redis, "parse_response", answer):
        yield


def _lost() -> RedisConnectionError:
    return RedisConnectionError("The connection was lost.")


def _http(effects: Effects, send: Callable[..., httpx.Response]) -> Callable[..., httpx.Response]:
    def call(request: httpx.Request, **options: Any) -> httpx.Response:
        name = f"HTTP {request.method} {request.url.path.split('/')[-1]}"
        lost = httpx.ReadError("The connection was lost.")
        return effects.meet(name, lambda: send(request, **options), lost)

    return call


def _smtp(effects: Effects, step: str, act: Callable[..., Any]) -> Callable[..., Any]:
    def exchange(self: Any, *args: Any, **options: Any) -> Any:
        lost = ConnectionResetError("lost")
        try:
            return effects.meet(f"SMTP {step}", lambda: act(self, *args, **options), lost)
        except ConnectionResetError:
            # As smtplib does where it notices that itself.
            self.close()
            raise

    return exchange


@cache
def names_of_scripts() -> dict[str, str]:
    """The names of all scripts, by their hash."""
    return {hashlib.sha1(text.encode()).hexdigest(): name for name, text in _texts().items()}


def load_scripts(redis: Redis) -> None:
    """Load all scripts on the server, so that first calls do not differ from later ones."""
    for text in _texts().values():
        redis.script_load(text)


def _texts() -> dict[str, str]:
    folder = files("worker.ledger") / "scripts"
    names = [file.name.removesuffix(".lua") for file in folder.iterdir() if file.name != "common.lua"]
    texts = {name: source(name) for name in names}
    texts["budget"] = (files("worker.cronofy") / "budget.lua").read_text()
    return texts
