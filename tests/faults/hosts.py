"""Faults of the host, its configuration and its neighbours: what came of each in 0.1.0, and what does now.

A row of the documentation's table says "now" only if its tests passed in the run that wrote it. Run as a
program, this prints those outside `tests/faults`, for `make faults`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.report import Report

HEADINGS = ("fault", "in 0.1.0", "now", "shown by")


@dataclass(frozen=True, slots=True)
class Row:
    """One fault."""

    fault: str
    before: str
    now: str
    #: As pytest names them, without parameters. A row without any is left out.
    tests: tuple[str, ...] = ()


_REDIS = "tests/faults/test_redis.py"
_KINDS = "tests/faults/test_redis_kinds.py"
_FILES = "tests/unit/test_settings_files.py"
_NEIGHBOURS = "tests/acceptance/test_neighbours.py"
_URL = "tests/unit/test_redis_url.py"
_REPLIES = "tests/integration/test_mail_replies.py"
_ADDRESSES = "tests/integration/test_mail_addresses.py"
_ENDINGS = "tests/faults/test_endings.py"
_EMBEDDED = "tests/integration/test_embedded.py"

ROWS: tuple[Row, ...] = (
    Row(
        "Redis refuses commands, for whatever reason: somebody's script keeps it busy",
        "payloads handed over meanwhile were lost",
        "any refusal is an outage, logged once with its reason and waited out",
        (
            f"{_REDIS}::test_intake_outlives_a_ledger_that_refuses",
            f"{_REDIS}::test_work_pauses_while_redis_takes_no_writes",
        ),
    ),
    Row(
        "The ledger hangs for longer than a task may run",
        "what was handed over meanwhile was lost",
        "a task that its time limit ends is delivered again",
        (f"{_REDIS}::test_intake_outlives_a_ledger_that_hangs",),
    ),
    Row(
        "A clock is wrong or is set: of a worker's host, of beat's, of the Redis server",
        "beat stood still until a clock set back had caught up; sweeps expired by another host's clock",
        "work goes on within seconds; but what was planned by a server's clock that is then set back "
        "waits as much longer, unless Cronofy notifies us of it",
        ("tests/faults/test_clocks.py::test_events_are_settled_whatever_a_clock_says",),
    ),
    Row(
        "The environment has another application's `CELERY_*` variables",
        "they won over our settings: messages went to the other's broker",
        "no effect",
        (
            "tests/integration/test_celery_environment.py::test_worker_and_beat_serve_our_broker",
            "tests/integration/test_celery_environment.py::test_a_dead_letter_is_replayed_to_our_broker",
        ),
    ),
    Row(
        "Another Celery application on the same Redis database",
        "our workers gave back what its workers held, so its tasks ran twice",
        "each of its tasks runs once",
        (f"{_NEIGHBOURS}::test_a_stock_celery_on_the_same_database_runs_each_of_its_tasks_once",),
    ),
    Row(
        "A line of `.env`, or the file, cannot be read",
        "it counted as not set: without `RECONCILER_REDIS_URL`, an empty ledger was started",
        "the start stops, and one sentence names the file and the line",
        (
            f"{_FILES}::test_a_line_of_dotenv_that_cannot_be_read_stops_the_start",
            f"{_FILES}::test_a_dotenv_that_cannot_be_read_stops_the_start",
        ),
    ),
    Row(
        "`reconciler track` reads from a pipe",
        "nothing was imported, with exit code 0",
        "what can be read only once is read once",
        ("tests/acceptance/test_commands.py::test_a_pipe_is_imported",),
    ),
    Row(
        "`RECONCILER_OUTCOME_QUEUE` names a queue of ours",
        "our own workers took the outcomes and dropped them",
        "refused at the start",
        ("tests/unit/test_settings.py::test_outcomes_are_not_sent_to_a_queue_of_ours",),
    ),
    Row(
        "The terminal or pipe has an encoding that lacks a character",
        "the command ended with a traceback",
        "the character is printed escaped; JSON stays JSON",
        (
            "tests/integration/test_output.py::test_text_is_escaped_where_it_has_to_be",
            "tests/integration/test_output.py::test_json_stays_json",
        ),
    ),
    Row(
        "A proxy or a bundle of certificates that cannot be used",
        "a traceback, or an advice to look at Cronofy's status page",
        "one sentence names the variable, at the start and in `doctor`",
        (
            "tests/integration/test_way_out.py::test_a_variable_that_cannot_be_used_is_named",
            "tests/integration/test_way_out.py::test_an_authority_that_nobody_named_is_the_finding",
        ),
    ),
    Row(
        "The disk is full when `up` starts for the first time",
        "an empty `vault.key` stayed behind, and no later start worked",
        "one sentence, and nothing stays behind",
        (
            f"{_EMBEDDED}::test_a_full_disk_leaves_no_empty_key",
            f"{_EMBEDDED}::test_a_full_disk_keeps_a_server_from_starting",
            f"{_EMBEDDED}::test_a_broken_key_is_named_and_left_alone",
        ),
    ),
    Row(
        "A Redis URL with options, or of a Unix socket",
        "ledger and broker read it differently, or one of them not at all",
        "both read it the same way; what either would not take is refused at the start",
        (
            f"{_URL}::test_a_url_is_read",
            f"{_URL}::test_what_ledger_and_broker_would_read_differently_is_refused_at_the_start",
            f"{_KINDS}::test_a_fleet_runs_on_every_kind_of_redis",
            f"{_KINDS}::test_a_malformed_url_is_a_sentence_at_the_start",
        ),
    ),
    Row(
        "The server is a Redis Cluster",
        "errors of single commands",
        "refused at the start, with the reason and the alternative",
        (f"{_KINDS}::test_a_redis_cluster_is_refused",),
    ),
    Row(
        "The primary moves to another server, by Sentinel or behind one name",
        "there was no Sentinel; behind one name, connections stayed at the server that had become a replica",
        "connections leave a server that is no longer the primary; nothing is lost or doubled",
        (
            "tests/faults/test_failover.py::test_a_client_leaves_a_server_that_is_a_replica_now",
            "tests/faults/test_failover.py::test_sentinel_moves_the_primary_under_a_half_busy_fleet",
            "tests/faults/test_failover.py::test_the_primary_moves_behind_one_name",
        ),
    ),
    Row(
        "An argument of a command is not UTF-8",
        "a traceback",
        "wrong usage, in one sentence",
        (f"{_KINDS}::test_an_argument_that_is_not_utf_8_is_wrong_usage",),
    ),
    Row(
        "A worker ends because of an error",
        "exit code 0, so that a supervisor which restarts on failure left it",
        "exit code 1",
        (f"{_ENDINGS}::test_a_worker_that_fails_says_so_by_its_exit_code",),
    ),
    Row(
        "A terminal is closed (SIGHUP)",
        "the worker started itself again, out of reach of what had started it",
        "as SIGTERM: it finishes its tasks and ends with exit code 0",
        (
            f"{_ENDINGS}::test_a_worker_asked_to_end_exits_with_0",
            f"{_ENDINGS}::test_a_closed_terminal_ends_up",
        ),
    ),
    Row(
        "A worker is asked to end while a process of its pool hangs",
        "it waited for ever",
        "it ends soon after the tasks' time limit, with exit code 1 and the place where it hung",
        (f"{_ENDINGS}::test_a_worker_that_cannot_end_is_ended",),
    ),
    Row(
        "A process of `up` hangs",
        "it stayed",
        "it is killed and started again",
        (f"{_ENDINGS}::test_up_restarts_what_is_stuck",),
    ),
    Row(
        "`up` is a container's first process and a worker is killed",
        "its pool's processes stayed as zombies",
        "they are reaped",
        (f"{_ENDINGS}::test_up_reaps_what_others_leave_behind",),
    ),
    Row(
        "A second `up` in the same data directory",
        "it worked on the first one's server, which ended with the first",
        "refused, with the pid of the first",
        (f"{_EMBEDDED}::test_a_second_start_is_refused",),
    ),
    Row(
        "A mail server that wants a full name in EHLO",
        "it was told the host's own name, or 127.0.0.1 if that has no dot",
        "it is told the sender's domain",
        (f"{_REPLIES}::test_the_server_is_told_a_name_with_a_dot",),
    ),
    Row(
        "A mail server refuses",
        "the code was told with a coarse step, without the enhanced code",
        "log, outcome and `doctor` tell the step and the code, never the text",
        (
            f"{_REPLIES}::test_a_refusal_is_logged_and_published_with_its_step_and_code",
            f"{_REPLIES}::test_doctor_tells_step_and_code_of_a_refusal",
        ),
    ),
    Row(
        "An email address beyond ASCII",
        "its email could not be sent",
        "the domain is sent as IDNA, the name as UTF-8 if the server takes it; else a sentence says why not",
        (
            f"{_ADDRESSES}::test_an_email_to_an_address_beyond_ascii_arrives",
            f"{_ADDRESSES}::test_only_a_name_beyond_ascii_needs_smtputf8",
        ),
    ),
)


def report(results: Mapping[str, str]) -> Report:
    """The table for the documentation. `results` has "passed" for each test that passed."""
    rows: list[dict[str, str]] = []
    for row in ROWS:
        cells = (row.fault, row.before, *shown_by(row.tests, row.now, results))
        if row.tests:
            rows.append(dict(zip(HEADINGS, cells, strict=True)))
    return Report("hosts", "Faults of the host", HEADINGS, rows)


def shown_by(tests: Sequence[str], claim: str, results: Mapping[str, str]) -> tuple[str, str]:
    """The claim and the files of the tests that show it, or neither unless all of them passed."""
    if all(results.get(test) == "passed" for test in tests):
        return claim, ", ".join(dict.fromkeys(f"`{test.partition('::')[0]}`" for test in tests))
    return "", "not in this run"


def elsewhere() -> list[str]:
    """The tests of the table outside this folder."""
    return [test for row in ROWS for test in row.tests if not test.startswith("tests/faults/")]


if __name__ == "__main__":
    print(*elsewhere(), sep="\n")
