"""What the fault tests in this process begin with; a module that needs another sandbox has its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.options import SandboxOptions
from sandbox.server import RunningSandbox


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSandbox]:
    """One sandbox with its mailbox, without rate limits, that generates nothing by itself."""
    with RunningSandbox(SandboxOptions(per_second=0, per_minute=0, generation_seconds=3600)) as sandbox:
        yield sandbox
