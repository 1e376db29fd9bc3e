"""What the fault tests share: two forms, one seed, and one table of faults and their effects.

A pytest plugin, loaded by ``tests/conftest.py``. Rows with the same name are summed, so a parametrised test
has one row; record before asserting, so that a failure also shows in the table. At the end the table is
shown and written to ``benchmarks/results/faults.json``; each ``--document FILE`` gets the tables for which it
has marks with their names.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest
from rich.console import Console

from benchmarks.report import Report, put

NAME = "faults"
#: The quick form's seed: `make test` gives the same result for the same tree.
QUICK_SEED = 1


@dataclass(slots=True)
class Row:
    """One fault in the table."""

    injected: int = 0
    events: int = 0
    lost: int = 0
    doubled: int = 0
    mails: int = 0
    #: Where its first test is: file and line, since parallel tests finish in any order.
    place: tuple[str, int] = ("", 0)

    def add(self, more: Row) -> None:
        for name in FIGURES.values():
            setattr(self, name, getattr(self, name) + getattr(more, name))
        self.place = min(self.place, more.place)


#: The table's headings, and what stands below them.
FIGURES = {"times injected": "injected", **{name: name for name in ("events", "lost", "doubled", "mails")}}


def recorded(fault: str, row: Row) -> tuple[str, dict[str, object]]:
    """A row as a property of a test's report, which carries it to the process that shows the table."""
    return NAME, {"fault": fault, "row": asdict(row)}


class Record(Protocol):
    """Adds figures to a fault's row.

    `injected`: how often the fault was injected; `events`: how many tracked events met it; `lost`: those that
    ended differently because of it; `doubled`: what was done or published twice; `mails`: how many emails
    were sent.
    """

    def __call__(
        self, fault: str, *, injected: int, events: int, lost: int = 0, doubled: int = 0, mails: int = 0
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Run:
    """This run of the fault tests."""

    long: bool
    seed: int
    rows: dict[str, Row]
    #: How each test ended, by its id without parameters: failed if any did, left out if all were skipped.
    results: dict[str, str] = field(default_factory=dict)

    def note(self, report: pytest.TestReport) -> None:
        """Note how one phase of a test ended."""
        # Where tests are shared among processes, a group's name follows the test's.
        test = re.split(r"\[|@", report.nodeid)[0]
        if report.failed:
            self.results[test] = "failed"
        elif report.when == "call" and report.passed:
            self.results.setdefault(test, "passed")

    def take(self, properties: Iterable[tuple[str, object]]) -> None:
        """Add what one test recorded, from its report's properties."""
        for name, value in properties:
            if name == NAME and isinstance(value, dict):
                row = Row(**value["row"])
                self.rows.setdefault(value["fault"], Row(place=row.place)).add(row)

    @property
    def form(self) -> str:
        return "long" if self.long else "quick"

    def report(self) -> Report:
        return Report(
            NAME,
            "Faults",
            ["fault", *FIGURES],
            [
                {"fault": fault} | {heading: getattr(row, name) for heading, name in FIGURES.items()}
                for fault, row in sorted(self.rows.items(), key=lambda item: item[1].place)
            ],
            [f"The {self.form} form, `--seed {self.seed}`."],
            settings={"form": self.form, "seed": self.seed},
        )


_RUN = pytest.StashKey[Run]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The fault tests' options."""
    group = parser.getgroup("faults", "the fault tests")
    group.addoption("--long", action="store_true", help="the long form of the fault tests")
    group.addoption("--seed", type=int, metavar="N", help="repeat the fault tests of a run with this seed")
    group.addoption(
        "--document",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="put the tables of faults into a document; may be repeated",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Set the form and the seed."""
    long = config.getoption("--long")
    # Processes that share the tests all use the seed of the controlling one.
    seed = getattr(config, "workerinput", {}).get("seed", config.getoption("--seed"))
    if seed is None:
        seed = random.SystemRandom().randrange(1, 1_000_000) if long else QUICK_SEED
    run = config.stash[_RUN] = Run(long, seed, {})
    config.pluginmanager.register(_Reports(run))


def pytest_report_header(config: pytest.Config) -> str:
    """How to repeat this run."""
    run = config.stash[_RUN]
    return f"faults: the {run.form} form, --seed {run.seed}"


class _Reports:
    """Collects the figures of all tests, including those run by other processes."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Pass the seed to a process that shares the tests."""
        node.workerinput["seed"] = self._run.seed

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test's last report has everything it recorded."""
        self._run.note(report)
        if report.when == "teardown":
            self._run.take(report.user_properties)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the table, write it as JSON, and put it into the documents that were named."""
    run = config.stash[_RUN]
    report = run.report()
    if not report.rows:
        return
    console = Console(width=120)
    with console.capture() as shown:
        report.show(console)
    terminalreporter.write_line("")
    terminalreporter.write(shown.get())
    report.write()
    documents: list[Path] = config.getoption("--document")
    if not documents:
        return
    # Imported here, since all tests load this module.
    from tests.faults import attempts, hosts, trouble  # noqa: PLC0415

    tables = (report, trouble.report(), hosts.report(run.results), attempts.report(run.results))
    for document in documents:
        place = config.invocation_params.dir / document
        written = [put(place, table.name, table.markdown()) for table in tables]
        if not any(written):
            raise pytest.UsageError(f"{document} has no marks for any of the tables.")


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Adds figures to a fault's row of the table."""

    def add(
        fault: str, *, injected: int, events: int, lost: int = 0, doubled: int = 0, mails: int = 0
    ) -> None:
        path, line, _ = request.node.location
        row = Row(injected, events, lost, doubled, mails, (path, line))
        request.node.user_properties.append(recorded(fault, row))

    return add


@pytest.fixture(scope="session")
def long(pytestconfig: pytest.Config) -> bool:
    """Whether this is the long form."""
    return pytestconfig.stash[_RUN].long


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """The seed of everything random."""
    return pytestconfig.stash[_RUN].seed
