"""A real nginx in front of what is served, configured as its manual shows it first."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.served import is_healthy
from tests.ports import free_port
from tests.waiting import wait_until


@contextmanager
def nginx_before(url: str, home: Path) -> Iterator[str]:
    """`proxy_pass` and nothing else: the host named is ours, and no header says who asked. Yields its URL."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not on this machine")
    port = free_port()
    temporary = "".join(
        f"{kind}_temp_path {home}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (home / "nginx.conf").write_text(
        f"daemon off;\npid {home}/nginx.pid;\nerror_log {home}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log {home}/access.log;\n{temporary}"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {url}; }} }}\n}}\n"
    )
    with (home / "output.log").open("wb") as output:
        running = subprocess.Popen(
            [program, "-p", str(home), "-c", str(home / "nginx.conf")], stdout=output, stderr=output
        )
    try:
        before = f"http://127.0.0.1:{port}"
        wait_until(lambda: is_healthy(before), what="nginx to answer")
        yield before
    finally:
        running.terminate()
        running.wait(10)
