"""The documentation matches the code: its tables list all of it, and nothing else."""

from __future__ import annotations

import ast
import importlib
import json
import re
import tomllib
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import get_args

import pytest

from config.celery import TASK_MODULES, celery_config, routes
from config.queues import Queues
from config.settings import PREFIX, Settings, load_settings
from tests.contract.commands import COMMANDS
from tests.contract.documents import (
    DOCUMENTS,
    ROOT,
    all_tables,
    code,
    firsts,
    table,
    tables,
    text_of,
    words_to_read,
)
from worker.app import app
from worker.diagnosis.model import Cause, Certainty, Remedy, State
from worker.intake.payloads import (
    AccountOnly,
    AcknowledgeEvent,
    BadPayload,
    ChooseProfile,
    ConnectAccount,
    DecideIncident,
    OneEvent,
    Payload,
    ReceiveNotification,
    TrackEvent,
)
from worker.ledger.outcomes import Outcome, OutcomeType
from worker.ledger.records import EventKey, TrackedEvent
from worker.reconcile.answer import recorded_answer

PAYLOADS: dict[str, type[Payload]] = {
    "conferencing.connect_account": ConnectAccount,
    "conferencing.forget_account": AccountOnly,
    "conferencing.track": TrackEvent,
    "conferencing.untrack": OneEvent,
    "conferencing.acknowledge": AcknowledgeEvent,
    "conferencing.reconcile_event": OneEvent,
    "conferencing.reconcile_account": AccountOnly,
    "conferencing.explain": OneEvent,
    "conferencing.choose_profile": ChooseProfile,
    "conferencing.decide_incident": DecideIncident,
    "conferencing.receive_notification": ReceiveNotification,
}


def _task_tables() -> tuple[list[list[str]], list[list[str]]]:
    public, internal = [table[1:] for table in all_tables() if table[0][0] == "task"]
    return public, internal


# The contract.


def test_every_task_is_documented() -> None:
    """The two tables of tasks list what the application registers, public and internal separately."""
    for module in TASK_MODULES:
        importlib.import_module(module)
    registered = {name for name in app.tasks if not name.startswith("celery.")}
    public, internal = _task_tables()

    assert firsts(public) + firsts(internal) == list(dict.fromkeys(firsts(public) + firsts(internal)))
    assert {*firsts(public), *firsts(internal)} == registered
    assert {name for name in registered if BadPayload in app.tasks[name].throws} == set(firsts(public))


def test_a_public_task_takes_what_its_row_says() -> None:
    """Names, and which are optional; the data centres are those the client knows."""
    rows = {code(row[0])[0]: sorted(code(row[1])) for row in _task_tables()[0]}
    taken = {
        task: sorted(name + ("" if f.is_required() else "?") for name, f in model.model_fields.items())
        for task, model in PAYLOADS.items()
    }
    [line] = [line for line in text_of("docs/contract.md").splitlines() if line.startswith("- `data_center`")]

    assert rows == taken
    assert tuple(code(line)[1:]) == get_args(ConnectAccount.model_fields["data_center"].annotation)


def test_tasks_are_on_the_queues_that_the_tables_name() -> None:
    """Each row's queue is where the task is routed."""
    public, internal = _task_tables()
    named = {code(row[0])[0]: code(row[2])[0] for row in public}
    named |= {code(row[0])[0]: code(row[1])[0] for row in internal}

    routed = routes("reconciler")
    assert named == {name: routed.get(name, routed["conferencing.*"])["queue"] for name in named}


@pytest.mark.parametrize(
    "name",
    ["README.md", "docs/beside-your-celery.md", "examples/python/hand_over.py", "examples/webhook/app.py"],
)
def test_examples_leave_a_callers_current_application_alone(name: str) -> None:
    """Otherwise the caller's `shared_task`s would go to our broker."""
    made = re.findall(r"= Celery\(([^)]+)\)", text_of(name))
    assert made
    assert all("set_as_current=False" in words for words in made)


WORDS = {"state": State, "certainty": Certainty, "cause": Cause, "remedy": Remedy, "type": OutcomeType}


@pytest.mark.parametrize(("head", "enum"), WORDS.items(), ids=WORDS)
def test_the_words_of_a_table_are_those_of_the_code(head: str, enum: type[StrEnum]) -> None:
    """Every member has its row, in the same order, with no extra rows."""
    assert firsts(table("docs/contract.md", head)) == [member.value for member in enum]


def test_the_table_of_causes_names_every_remedy() -> None:
    """Its last column has every remedy except `none`, and no other."""
    rows = table("docs/contract.md", "cause")
    named = {word for row in rows for word in code(row[2]) if not word.startswith(PREFIX)}

    assert named == {*Remedy} - {Remedy.NONE}


def test_the_examples_have_the_fields_of_a_diagnosis_and_of_an_outcome() -> None:
    """The keys and their order match the code, and the words exist."""
    blocks = re.findall(r"```json\n(.*?)```", text_of("docs/contract.md"), re.DOTALL)
    diagnosis, outcome = map(json.loads, blocks)
    event = TrackedEvent(EventKey("c", "e"), {}, None, 0, 0, None, None)

    assert list(diagnosis) == list(recorded_answer("s", event, False))
    assert all(diagnosis[head] in list(WORDS[head]) for head in ("state", "cause", "certainty", "remedy"))
    assert list(outcome) == list(json.loads(Outcome(OutcomeType.CLOSED, "s", datetime.now(UTC)).to_json()))
    assert (outcome["type"] in list(OutcomeType), outcome["cause"] in list(Cause)) == (True, True)


SETTINGS = table("docs/settings.md", "variable")


def test_every_setting_is_documented_in_the_order_of_the_code() -> None:
    """The table has exactly one row per field."""
    assert firsts(SETTINGS) == [PREFIX + field.upper() for field in Settings.model_fields]


@pytest.mark.parametrize(
    ("variable", "default"), [pytest.param(code(row[0])[0], row[1], id=code(row[0])[0]) for row in SETTINGS]
)
def test_a_setting_has_the_default_of_its_row(
    monkeypatch: pytest.MonkeyPatch, variable: str, default: str
) -> None:
    """`none` means no default; anything else is the value to set the variable to."""
    field = variable.removeprefix(PREFIX).lower()
    if default != "none":
        [value] = code(default)
        monkeypatch.setenv(variable, value)

    assert getattr(load_settings(), field) == Settings.model_fields[field].default


def test_every_variable_that_a_document_names_exists() -> None:
    """No text mentions a setting that is gone."""
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    texts = [path.read_text(encoding="utf-8") for path in DOCUMENTS]
    named = {name for text in texts for name in re.findall(rf"(?<!_){PREFIX}[A-Z_]+[A-Z]", text)}

    assert named - known == set()


def test_every_command_is_documented_with_options_that_it_has() -> None:
    """The table has exactly one row per command; the options in it are the command's own."""
    shown = table("docs/commands.md", "command")
    rows = {code(row[0])[0].removeprefix("reconciler "): row[1] for row in shown}

    assert set(rows) == set(COMMANDS)
    for name, text in rows.items():
        own = {option for parameter in COMMANDS[name].params for option in parameter.opts}
        named = {word for word in code(text) if word.startswith("-")}
        assert name in {"worker", "beat"} or named <= own, name


def test_every_command_that_a_document_shows_exists() -> None:
    """Whatever follows `reconciler` or `make` exists; make's help names all its targets."""
    texts = [path.read_text(encoding="utf-8") for path in DOCUMENTS]
    makefile = text_of("Makefile")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))

    def shown(program: str) -> set[str]:
        pattern = rf"(?:^ *|^\$ |`){program} ([a-z-]+)"
        return {word for text in texts for word in re.findall(pattern, text, re.MULTILINE)}

    assert shown("reconciler") - set(COMMANDS) == set()
    assert {"demo", "test"} <= shown("make") <= targets
    assert set(re.findall(r"'make ([a-z]+) ", makefile)) == targets - {"help", "setup"}


def test_the_ci_runs_the_test_command_of_the_readme() -> None:
    """CI runs exactly what the README tells people to run."""
    commands = re.findall(r"^(make [a-z]+)", text_of("README.md"), re.MULTILINE)
    script = ROOT / ".ci" / "run"

    assert script.read_text(encoding="utf-8").splitlines()[-1] == commands[-1] == "make test"
    assert script.stat().st_mode & 0o100


# The other documents.


PAGES = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_takes_at_most_ten_minutes_to_read(path: Path) -> None:
    """At 220 words a minute, in which tables and code count half."""
    assert words_to_read(path.read_text(encoding="utf-8")) <= 2200


def test_the_index_leads_each_reader_to_a_few_pages_and_names_all() -> None:
    """Three to six pages for each of the four, in a numbered list; every page is somewhere."""
    text = text_of("docs/README.md")
    readers = [part for part in text.split("\n## ")[1:] if part.startswith("You ")]
    linked = {name.partition("#")[0] for name in re.findall(r"\]\(([^)]+)\)", text)}

    assert len(readers) == 4
    assert all(3 <= len(re.findall(r"^\d\. ", part, re.MULTILINE)) <= 6 for part in readers)
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"} <= linked


def test_every_option_of_celery_is_explained() -> None:
    """The page on Celery gives a reason for exactly the options that are set."""
    config = celery_config(load_settings(redis_url="redis://localhost:6379/0"))
    explained = firsts(table("docs/celery.md", "option"))

    assert sorted(explained) == sorted([*config, *config["broker_transport_options"]])


def _files(pattern: str) -> list[str]:
    folders = [ROOT / package for package in ("config", "tasks", "worker", "sandbox")]
    return [path.relative_to(ROOT).as_posix() for folder in folders for path in folder.rglob(pattern)]


def test_the_map_of_the_architecture_leads_to_every_module() -> None:
    """Each is listed by itself or by its folder, and every path exists."""
    places = firsts(table("docs/architecture.md", "place"))
    folders = tuple(place for place in places if place.endswith("/"))
    modules = [name for name in _files("*.py") if not name.endswith("__init__.py")]

    assert [place for place in places if not (ROOT / place).exists()] == []
    assert [name for name in modules if name not in places and not name.startswith(folders)] == []


def test_every_kind_of_test_is_described() -> None:
    """With what it covers, how it runs and how long."""
    described = [place for place in firsts(table("CONTRIBUTING.md", "where")) if place.startswith("tests/")]

    assert sorted(described) == sorted(
        f"tests/{path.parent.name}" for path in (ROOT / "tests").glob("*/__init__.py")
    )


def test_every_queue_is_described() -> None:
    """The table lists the queues in the order in which a worker consumes them."""
    assert firsts(table("docs/operations.md", "queue")) == list(Queues.of("reconciler"))


def test_every_direct_dependency_has_its_reason() -> None:
    """The three tables list pyproject's dependencies, extras and development group."""
    project = tomllib.loads(text_of("pyproject.toml"))
    program, extras, development, parts = [table[1:] for table in tables(text_of("docs/dependencies.md"))]
    wanted = [
        (_distribution(need), extra)
        for extra, needs in project["project"]["optional-dependencies"].items()
        for need in needs
    ]

    assert firsts(program) == [_distribution(need) for need in project["project"]["dependencies"]]
    assert [(code(row[0])[0], code(row[1])[0]) for row in extras] == wanted
    assert firsts(development) == [_distribution(need) for need in project["dependency-groups"]["dev"]]
    assert firsts(parts) == [_distribution(need) for need in project["dependency-groups"]["sbom"]]
    assert all(row[-1] for row in [*program, *extras, *development])


def _distribution(requirement: str) -> str:
    return re.split(r"[\[<>=~!; ]", requirement, maxsplit=1)[0]


def test_the_python_of_the_readme_compiles() -> None:
    """Its examples are valid Python, and use tasks and queues that exist."""
    text = text_of("README.md")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    strings = {
        node.value
        for block in blocks
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }

    assert blocks
    assert {s for s in strings if s.startswith("conferencing.")} <= set(PAYLOADS)
    assert {s for s in strings if s.startswith("reconciler.")} <= set(Queues.of("reconciler"))
