"""The manual of the sandbox: its examples run, in their order, and answer as it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.contract.documents import ROOT, text_of
from tests.contract.sandbox_tables import TABLES

MANUAL = "docs/sandbox.md"
WRITTEN_ADDRESS = "localhost:8080"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "NO_PROXY": "*"}


@pytest.fixture
def address() -> Iterator[str]:
    """Where the command `reconciler sandbox` serves."""
    command = [sys.executable, "-m", "worker.cli", "sandbox", "--port", "0", "--smtp-port", "0"]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().rpartition("http://")[2].strip()
        try:
            with httpx.Client(transport=httpx.HTTPTransport(retries=8)) as client:
                client.get(f"http://{address}/sandbox/health").raise_for_status()
            yield address
        finally:
            process.terminate()
        assert process.wait(timeout=10) == 0


def has(shown: Any, whole: Any) -> bool:
    """Whether `whole` has everything that is shown of it; lists have as many items."""
    if isinstance(shown, dict):
        return isinstance(whole, dict) and all(
            name in whole and has(value, whole[name]) for name, value in shown.items()
        )
    if isinstance(shown, list):
        return (
            isinstance(whole, list)
            and len(shown) == len(whole)
            and all(has(*pair) for pair in zip(shown, whole, strict=True))
        )
    return bool(shown == whole)


def last(answers: str) -> Any:
    """The last of several JSON values that were printed without anything between them."""
    value, rest = None, answers.strip()
    while rest:
        value, end = json.JSONDecoder().raw_decode(rest)
        rest = rest[end:].strip()
    return value


def test_the_examples_run_as_written(address: str) -> None:
    """Every shell block succeeds, the JSON after it is part of its last answer, and the Python runs."""
    blocks = re.findall(r"^```(sh|json|python)\n(.*?)^```", text_of(MANUAL), re.MULTILINE | re.DOTALL)
    assert {kind for kind, _ in blocks} == {"sh", "json", "python"}
    answer = ""
    for kind, written in blocks:
        text = written.replace(WRITTEN_ADDRESS, address)
        if kind == "json":
            assert has(json.loads(text), last(answer)), (written, answer)
            continue
        command = ["bash", "-euo", "pipefail", "-c"] if kind == "sh" else [sys.executable, "-c"]
        done = subprocess.run(
            [*command, text], env=ENVIRONMENT, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, (written, done.stdout, done.stderr)
        answer = done.stdout


@pytest.mark.parametrize(("name", "table"), TABLES, ids=[name for name, _ in TABLES])
def test_the_tables_are_made_from_the_code(name: str, table: Callable[[], str]) -> None:
    """To write them: python -m tests.contract.sandbox_tables"""
    assert f"<!-- {name} -->\n\n{table()}\n<!-- /{name} -->" in text_of(MANUAL)
