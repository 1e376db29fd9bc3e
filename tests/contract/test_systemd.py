"""The systemd units use commands and settings that exist, and confine what they start."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import PREFIX, Settings
from tests.contract.commands import COMMANDS
from tests.contract.documents import ROOT
from tests.contract.test_deployment_files import celery_options

FOLDER = ROOT / "deploy" / "systemd"
COMMON = FOLDER / "reconciler-.service.d" / "common.conf"
UNITS = {path.stem.removeprefix("reconciler-"): path for path in FOLDER.glob("*.service")}
EACH = [pytest.param(role, path, id=role) for role, path in UNITS.items()]
#: Where the units expect the program.
PROGRAM = "/opt/reconciler/bin/reconciler"

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine"
)


def _options(path: Path) -> Iterator[tuple[str, str]]:
    """What the unit says, with what it has in common with the others; an option may come several times."""
    for text in (COMMON.read_text(), path.read_text()):
        yield from re.findall(r"^([A-Za-z]+)=(.*)$", text, re.MULTILINE)


@pytest.mark.parametrize(("role", "path"), EACH)
def test_a_unit_runs_the_command_that_it_is_named_after(role: str, path: Path) -> None:
    """With options that exist; a worker takes every queue, and says how many processes it has."""
    program, *words = dict(_options(path))["ExecStart"].split()

    assert (program, words[0]) == (PROGRAM, role)
    options = celery_options(words)
    if role == "worker":
        assert options["concurrency"]
        assert not options.get("queues")
    if role == "serve":
        assert COMMANDS[role].make_context(role, words[1:]).params["host"] == "127.0.0.1"


@pytest.mark.parametrize(("role", "path"), EACH)
def test_a_unit_is_given_its_secrets_as_files(role: str, path: Path) -> None:
    """Each credential is a setting, in a file of that name, and no secret is in the unit's environment."""
    credentials = [value.split(":") for name, value in _options(path) if name == "LoadCredential"]
    variables = [value.split("=")[0] for name, value in _options(path) if name == "Environment"]
    settings = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields}

    assert {name for name, _ in credentials} <= settings
    assert all(file == f"/etc/reconciler/secrets/{name}" for name, file in credentials)
    assert variables == [f"{PREFIX}SECRETS_DIR", f"{PREFIX}DATA_DIR", "TMPDIR"]
    assert (f"{PREFIX}VAULT_KEYS" in dict(credentials)) == (role != "beat")


@pytest.mark.parametrize("path", UNITS.values(), ids=UNITS)
def test_a_unit_lets_tasks_finish_and_starts_again(path: Path) -> None:
    """The first process alone gets SIGTERM, with longer than any task may take."""
    options = dict(_options(path))

    assert (options["Restart"], options["KillMode"]) == ("always", "mixed")
    assert int(options["TimeoutStopSec"]) > Settings.model_fields["task_time_limit"].default.total_seconds()


@needs_systemd
def test_systemd_accepts_the_units_and_finds_them_confined(tmp_path: Path) -> None:
    """It warns of nothing, and rates each one's exposure below 2 of 10."""
    folder = tmp_path / "systemd"
    shutil.copytree(FOLDER, folder)
    for path in folder.glob("*.service"):
        # Verified too is that the program is there.
        text = path.read_text().replace(PROGRAM, str(Path(sys.executable).with_name("reconciler")))
        path.write_text(text)
    units = sorted(f"./{path.name}" for path in folder.glob("*.service"))

    assert _analyze(folder, "verify", *units) == ""
    for unit in units:
        _analyze(folder, "security", "--offline=true", "--no-pager", "--threshold=20", unit)


def _analyze(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["systemd-analyze", *words],
        cwd=folder,
        env={"SYSTEMD_UNIT_PATH": f"{folder}:", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
