"""Every command that a document shows works as it is written there.

Those of `reconciler` that end are run on a ledger with one event that needs a person. Of those that run until
they are stopped, of `make`, Python's modules and pytest, the names and options are checked; other tests run
them. What needs another program, or a network, has its reason in a table.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import click
import pytest
from celery.bin.beat import beat as celery_beat
from celery.bin.worker import worker as celery_worker
from click.testing import CliRunner
from redis import Redis

from benchmarks.__main__ import NAMES
from benchmarks.__main__ import main as benchmarks
from sandbox.demo.cast import CAST
from tests.acceptance.processes import run_command
from tests.contract.commands import COMMANDS
from tests.contract.documents import DOCUMENTS, ROOT, code, shell_lines, table
from tests.integration.world import Begin, World, set_environment
from worker.cli import cli
from worker.diagnosis.model import State

PAGES = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"] + [ROOT / "examples" / "README.md"]
#: A phrase in backticks is a command if it begins with one of these and goes on.
PROGRAMS = (
    *("reconciler", "make", "python", ".venv/bin/python", "redis-cli", "pip", "uv", "docker", "kubectl"),
    *("curl", "promtool", "systemctl", "git"),
)

#: What cannot be run here, by the whole line: why not.
ELSEWHERE = {
    "cp .env.example .env": "tests/contract/test_env_example.py",
    'export PATH="$PWD/.venv/bin:$PATH"': "for an interactive shell",
    "export BROKER_URL=redis://localhost:6379/0": "for an interactive shell",
    "export CRONOFY_REFRESH_TOKEN=…": "for an interactive shell",
    "python examples/python/hand_over.py acc_5ba2 cal_n23k < event.json": "tests/acceptance/test_examples.py",
    "uv pip compile --universal --generate-hashes --no-header --extra web --extra otel --extra notify "
    "pyproject.toml -o requirements.lock": "needs uv and a package index",
    "uv pip compile --universal --generate-hashes --no-header --all-extras --group dev -c requirements.lock "
    "pyproject.toml -o requirements-dev.lock": "needs uv and a package index",
    "uv pip compile --universal --generate-hashes --no-header --group sbom -o requirements-sbom.lock": (
        "needs uv and a package index"
    ),
    "pip install '.[sandbox]'": "needs a package index",
    "pip install 'conferencing-reconciler[otel]'": "needs a package index",
    'docker build --build-arg REVISION="$(git rev-parse HEAD)" --tag conferencing-reconciler:0.2.0 .': (
        "needs Docker; tests/acceptance/test_image.py builds the image with buildah"
    ),
    "docker compose up --build --detach": "needs Docker; tests/contract/test_deployment_files.py",
    "docker compose --file docker-compose.yml --file docker-compose.monitoring.yml up --build --detach": (
        "needs Docker; tests/contract/test_deployment_files.py"
    ),
    "docker inspect": "a program that is named, not a command",
    "kubectl create namespace reconciler": "needs a cluster",
    "kubectl create secret generic reconciler --namespace reconciler --from-env-file=secrets.env": (
        "needs a cluster"
    ),
    "kubectl apply --kustomize deploy/kubernetes": "needs a cluster; tests/contract/test_kubernetes.py",
    "python3 -m venv /opt/reconciler": "writes outside the checkout",
    "/opt/reconciler/bin/pip install --require-hashes --requirement requirements.lock": "needs an index",
    "/opt/reconciler/bin/pip install --no-deps .": "needs a package index",
    "systemd-sysusers deploy/systemd/sysusers.conf": "needs root; tests/contract/test_systemd.py",
    "install -D --mode 644 .env.example /etc/reconciler/.env": "needs root",
    "install --directory --mode 700 /etc/reconciler/secrets": "needs root",
    "cp --recursive deploy/systemd/reconciler-* /etc/systemd/system/": "needs root",
    "systemctl enable --now reconciler-worker reconciler-beat reconciler-serve": "needs systemd as root",
    'cd deploy/flower && celery --broker "$RECONCILER_REDIS_URL" --config celeryconfig flower '
    "--address=127.0.0.1 --basic-auth=operator:…": "needs Flower; tests/acceptance/test_flower.py",
    "promtool test rules alerts_test.yml": "needs promtool; tests/contract/test_monitoring_files.py",
    "curl http://HOST:8000/healthz": "tests/integration/test_web_metrics.py",
    "curl http://HOST:8000/readyz": "tests/integration/test_web_metrics.py",
    "python -X importtime": "an option that is named, not a command",
}
#: They run until they are stopped: which test runs them.
LASTING = {
    "demo": "tests/acceptance/test_demo.py",
    "up": "tests/acceptance/test_embedded_up.py",
    "worker": "tests/integration/test_roles.py",
    "beat": "tests/integration/test_roles.py",
    "serve": "tests/integration/test_roles.py",
    "sandbox": "tests/integration/test_sandbox_manual.py",
}
#: They ask first, and need a word without a terminal.
ASKING = {("forget",), ("choose",), ("dead-letters", "drop"), ("outcomes", "drop"), ("probe", "--calendar")}
#: How else they may end here: without a worker on this host, with questions that this account leaves open, or
#: without an outcome that was given up.
ENDS = {("healthcheck",): {0, 1}, ("doctor",): {0, 1}, ("probe",): {0, 3}, ("outcomes", "drop"): {1}}
#: They change more of their process than a test may.
APART = {("dead-letters", "replay"), ("doctor",)}


def _as_command(phrase: str) -> str | None:
    """A phrase in backticks as it would be typed, if it is a command with arguments or options."""
    first, *rest = re.sub(r"^(?:[A-Z_]+=\S* )+", "", phrase).split() or [""]
    if first not in PROGRAMS or not rest or (first == "reconciler" and len(rest) == 1):
        return None
    return phrase


def _documented() -> dict[str, str]:
    """Each command that a document shows, with the page."""
    found: dict[str, str] = {}
    for path in PAGES:
        text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        # The manual of the sandbox is run as a whole, in its order, by its own test.
        shown = text if name != "docs/sandbox.md" else re.sub(r"^```sh\n.*?^```", "", text, flags=re.M | re.S)
        inline = re.sub(r"^ *```.*?^ *```", "", shown, flags=re.MULTILINE | re.DOTALL)
        phrases = [" ".join(phrase.split()) for phrase in code(inline)]
        for line in [*shell_lines(shown), *filter(None, map(_as_command, phrases))]:
            command = re.sub(r"(^|\s+)#.*", "", line).strip()
            if command:
                found.setdefault(command, name)
    return found


DOCUMENTED = _documented()


def _words(command: str) -> list[str]:
    """The words of a command, without settings before it and the path of the program."""
    words = shlex.split(command)
    while re.match(r"[A-Z_]+=", words[0]):
        del words[0]
    return [words[0].removeprefix(".venv/bin/"), *words[1:]]


def _commands(program: str) -> list[str]:
    return [command for command in DOCUMENTED if command not in ELSEWHERE and _words(command)[0] == program]


OURS = _commands("reconciler")
ENDING = [command for command in OURS if _words(command)[1] not in LASTING or "--help" in command]


#: In the documents, for what they stand in an example.
EXAMPLES = {"hana": "SUB", "cal_hana": "CALENDAR", "teams-briefing": "EVENT", "1795596142650-0": "ID"}


@pytest.fixture
def world(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> World:
    """One event whose profile was removed, another person's in its place, and a payload that does not fit."""
    world = begin(profiles=1, escalation_email="ops@example.org")
    world.track()
    world.control.remove_profile(world.sub, world.profiles[0])
    world.control.add_conferencing_profile(
        world.sub, provider_name="zoom", profile_id="pro_lee", profile_name="Lee"
    )
    world.look()
    world.control.set_settings(generation_seconds=0)
    set_environment(world, monkeypatch)
    return world


@pytest.fixture
def arguments(world: World) -> Callable[[str], list[str]]:
    """Puts what there is in place of the names in a command."""
    ledger = world.services.ledger
    event = {"event_id": "e2", "summary": 7, "start": "2035-01-01T10:00:00Z", "end": "2035-01-01T11:00:00Z"}
    where = {"sub": world.sub, "calendar_id": world.calendar_id}
    [incident] = ledger.incidents.open()
    names = {"SUB": world.sub, "CALENDAR": world.calendar_id, "EVENT": "e1", "LETTER": "relink", "N": "1"}
    Path("token.txt").write_text(str(world.control.account(world.sub)["access_token"]))

    def fill(command: str) -> list[str]:
        words = [EXAMPLES.get(word, word) for word in _words(command)[1:]]
        if "ID" in words:
            letter = ledger.dead_letters.keep("conferencing.track", "bad", (), {**where, "event": event})
            ids = {"dead-letters": letter, "probe": world.calendar_id}
            names["ID"] = ids.get(words[0], incident.incident_id)
        if "FILE" in words:
            line = (
                {"sub": world.sub, "refresh_token": "r"}
                if words[0] == "connect"
                else {**where, "event": event}
            )
            Path("FILE").write_text(json.dumps(line))
        asks = any(set(words) >= set(kind) for kind in ASKING)
        return [names.get(word, word) for word in words] + ["--yes"] * asks

    return fill


@pytest.mark.parametrize("command", ENDING)
def test_a_command_does_what_it_is_shown_for(
    monkeypatch: pytest.MonkeyPatch, arguments: Callable[[str], list[str]], command: str
) -> None:
    """It ends with 0. One that is named without its arguments has at least its options."""
    for name, value in re.findall(r"(?:^| )(RECONCILER_[A-Z_]+)=(\S*)", command):
        monkeypatch.setenv(name, str(ROOT / value))
    words = arguments(command)
    try:
        with cli.get_command(click.Context(cli), words[0]).make_context(words[0], words[1:]):  # type: ignore[union-attr]
            pass
    except (click.MissingParameter, click.BadOptionUsage):
        return
    except click.exceptions.Exit:
        pass
    # A browser would outlast the test.
    words = [word for word in words if word != "--open"]
    if any(set(words) >= set(kind) for kind in APART):
        done = run_command(Path.cwd(), os.environ, *words)
        ended, said = done.returncode, done.stdout + done.stderr
    else:
        result = CliRunner().invoke(cli, words)
        ended, said = result.exit_code, f"{result.output}{result.exception or ''}"

    assert ended in ENDS.get(tuple(words[:2]), ENDS.get(tuple(words[:1]), {0})), said


@pytest.mark.parametrize("command", [command for command in OURS if command not in ENDING])
def test_a_command_that_runs_until_it_is_stopped_has_its_options(command: str) -> None:
    """Our own ones, or for a worker and beat those of Celery; the test that runs it exists."""
    _, name, *options = _words(command)
    celerys = {"worker": celery_worker, "beat": celery_beat}
    own = celerys.get(name) or cli.get_command(click.Context(cli), name)

    assert own is not None
    assert (ROOT / LASTING[name]).exists()
    with suppress(click.BadOptionUsage):
        own.make_parser(click.Context(own)).parse_args(list(options))


def test_a_command_in_short_has_the_options_that_are_named_with_it() -> None:
    """As in `explain --offline`, or `dead-letters show --json`."""
    unknown = []
    for path in PAGES:
        for phrase in code(path.read_text(encoding="utf-8")):
            name, *rest = phrase.split() or [""]
            named = {word.partition("=")[0] for word in rest if re.match("--[a-z]", word)}
            if name in COMMANDS and named:
                command = COMMANDS[name]
                group = command.commands if isinstance(command, click.Group) else {}
                parts = [command, *(group[word] for word in rest if word in group)]
                own = {option for part in parts for each in part.params for option in each.opts}
                unknown += [(path.name, phrase)] * (not named <= own and name not in {"worker", "beat"})

    assert unknown == []


def _check_python(words: Sequence[str], config: pytest.Config) -> None:
    match words:
        case ["-c", source]:
            exec(compile(source, "document", "exec"), {})
        case ["-m", "pytest", *rest]:
            takes_a_value = False
            for word in rest:
                if word.startswith("-"):
                    takes_a_value = not isinstance(config.getoption(word), bool)
                elif not takes_a_value:
                    assert (ROOT / word).exists(), word
        case ["-m", "benchmarks", *rest]:
            with benchmarks.make_context("benchmarks", list(rest)) as context:
                assert set(context.params["names"]) <= set(NAMES)
        case ["-m", module, *rest]:
            assert importlib.util.find_spec(module), module
            assert not rest
        case [script, *_]:
            assert (ROOT / script).exists(), script


def _made(target: str, *flags: str) -> list[str]:
    """What make would run."""
    command = ["make", "--dry-run", "--old-file=.venv/.set-up", target, *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.replace("\\\n", "").splitlines()


@pytest.mark.parametrize("command", _commands("make"))
def test_make_has_the_target_and_its_flags_are_known(command: str, pytestconfig: pytest.Config) -> None:
    """Of pytest, where that is what they go to."""
    for line in _made(*_words(command)[1:]):
        if "-m pytest" in line:
            _check_python(_words(re.sub(r"\$\(.*?\)", "", line))[1:], pytestconfig)


@pytest.mark.parametrize("command", _commands("python"))
def test_a_module_or_script_is_there(command: str, pytestconfig: pytest.Config) -> None:
    """With the options and names that are given to it; what is typed whole is run."""
    _check_python(_words(re.sub(r"\$\(.*?\)", "", command))[1:], pytestconfig)


#: Of the client's own options there are no commands of the server.
REDIS = [shlex.join(_words(command)[1:]) for command in _commands("redis-cli") if " --" not in command]
REDIS += [command for row in table("docs/operations.md", "what") for command in code(row[1])]


@pytest.mark.parametrize("command", REDIS)
def test_redis_knows_the_command(redis: Redis, command: str) -> None:
    """Each is run, on an empty ledger."""
    redis.execute_command(*shlex.split(command))  # type: ignore[no-untyped-call]


def test_nothing_else_is_shown_than_has_its_reason() -> None:
    """A command of another program needs its line in the table; a line without its command goes."""
    ours = {"reconciler", "make", "python", "redis-cli"}
    others = {command for command in DOCUMENTED if _words(command)[0] not in ours}

    assert others <= set(ELSEWHERE)
    assert set(ELSEWHERE) <= set(DOCUMENTED)


def test_the_files_that_other_programs_are_given_exist() -> None:
    """Those of this repository, and the tests that are named as reasons."""
    missing = [
        (command, word)
        for command, reason in ELSEWHERE.items()
        for word in [*shlex.split(command), *reason.replace(";", " ").split()]
        if re.match(r"(?:deploy|examples|tests|docker-compose)\b[\w./*-]*$|[\w-]+\.(?:lock|toml)$", word)
        and not list(ROOT.glob(word))
    ]

    assert missing == []


def test_the_readme_asks_about_a_meeting_that_still_waits_when_the_demo_is_over() -> None:
    """So that the answer is the one that is shown."""
    [command] = [command for command in DOCUMENTED if command.startswith("reconciler explain hana")]
    [part] = [part for part in CAST if [part.sub, part.calendar_id, part.name] == _words(command)[2:]]

    assert part.end.state is State.PENDING


def test_code_is_in_blocks_that_say_what_they_are() -> None:
    """Otherwise a command in one is not found."""
    plain = [
        (path.name, line)
        for path in PAGES
        for line in re.sub(
            r"^ *```\w+\n.*?^ *```", "", path.read_text("utf-8"), flags=re.M | re.S
        ).splitlines()
        if line.lstrip().startswith("```") or re.match(r" {4,}(?:\$|make|reconciler|\.venv)", line)
    ]

    assert plain == []
