"""A client of the control plane."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import wraps
from typing import Any, Self
from urllib.parse import quote

import httpx

from sandbox.control.admin import VERBS, Admin, Json, Verb


class Control(Admin):
    """Every verb of `Admin`, called over HTTP.

    Synchronous and thread-safe. A refusal raises `httpx.HTTPStatusError`.
    """

    def __init__(self, base_url: str) -> None:
        """Connect to the sandbox at `base_url`, its origin."""
        self.base_url = base_url.rstrip("/")
        self._http = httpx.Client(base_url=self.base_url, timeout=30.0, trust_env=False)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def follow_relink(self, url: str) -> None:
        """Open a relink URL and press the button, as a person would."""
        self._http.post(url).raise_for_status()

    def call(self, verb: Verb, given: Json) -> Any:
        """Call a verb by name with these arguments, and return the answer."""
        path = re.sub(r"{(\w+)}", lambda name: quote(given.pop(name[1]), safe=""), verb.path)
        body = given["body"] if verb.takes_body else given
        sent, asked = (body, None) if verb.method == "POST" else (None, body)
        response = self._http.request(verb.method, f"/sandbox{path}", json=sent, params=asked)
        if response.is_error:
            message = f"{verb.method} {path}: {response.status_code} {response.text}"
            raise httpx.HTTPStatusError(message, request=response.request, response=response)
        answer = response.json()
        return answer.get(verb.list_name, answer)


def _remote(verb: Verb) -> Callable[..., Any]:
    signature = inspect.signature(verb.function)
    fields = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), "")

    @wraps(verb.function)
    def call(control: Control, *args: Any, **kwargs: Any) -> Any:
        _, *given = signature.bind(control, *args, **kwargs).arguments.items()
        named = dict(given)
        return control.call(verb, named | named.pop(fields, {}))

    return call


for name, verb in VERBS.items():
    setattr(Control, name, _remote(verb))
