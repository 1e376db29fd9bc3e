"""What somebody may try, and what comes of it: the table in docs/threats.md.

A row says what comes of its attempt only if its tests passed in the run that wrote it. Run as a program, this
prints them all:

    .venv/bin/python -m pytest $(.venv/bin/python -m tests.faults.attempts) --long --document docs/threats.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.report import Report
from tests.faults.hosts import shown_by

HEADINGS = ("who", "attempt", "what comes of it", "shown by")


@dataclass(frozen=True, slots=True)
class Row:
    """One attempt."""

    who: str
    attempt: str
    outcome: str
    #: As pytest names them, without parameters.
    tests: tuple[str, ...]


CALLER, BROKER, NETWORK = "a caller", "who can write to Redis", "on the network"
TEXT, BOARD, MAIL, CRONOFY = "who writes an event's text", "with the board", "a mail server", "Cronofy"
MACHINE = "on the machine"

_BOUNDED = "tests/integration/test_dead_letters_bounded.py"
_PAYLOADS = "tests/faults/test_payloads.py"
_TERMINAL = "tests/integration/test_hostile_terminal.py"
_WEBHOOK = "tests/integration/test_web_webhook.py"
_FAULTS = "tests/integration/test_cronofy_faults.py"
_MEMORY = "tests/integration/test_cronofy_memory.py"
_ACL = "tests/faults/test_secrets_redis.py"
_DOCTOR = "tests/integration/test_doctor_faults.py"
_LINKS = "tests/unit/test_relink_links.py"
_EMBEDDED = "tests/integration/test_embedded.py"

ROWS: tuple[Row, ...] = (
    Row(
        CALLER,
        "payloads that do not fit: of wrong types, nested deep, a megabyte long, not Unicode",
        "refused with the first fault and no value; the worker goes on, the good ones between are done",
        (f"{_PAYLOADS}::test_every_refused_call_is_kept_and_the_good_ones_between_are_done",),
    ),
    Row(
        CALLER,
        "as many of them as it likes, as large as it likes",
        "the head and the size are kept; after 5,000 letters, a count and a line of the log",
        (
            f"{_BOUNDED}::test_a_payload_that_nobody_may_send_is_kept_as_its_head_and_size",
            f"{_BOUNDED}::test_the_oldest_letters_are_kept_and_what_comes_then_is_counted",
            f"{_BOUNDED}::test_a_refused_payload_that_finds_no_room_is_logged_and_answered",
        ),
    ),
    Row(
        CALLER,
        "a token under a name that is not masked, or so large that only its head is kept",
        "no command shows it",
        (
            "tests/acceptance/test_dead_letters.py::test_secrets_are_masked_and_still_replayed",
            f"{_BOUNDED}::test_the_head_shows_no_secret",
        ),
    ),
    Row(
        CALLER,
        "with a caller's login, the ledger or what others enqueue",
        "Redis refuses",
        (f"{_ACL}::test_each_user_keeps_to_what_is_theirs",),
    ),
    Row(
        BROKER,
        "messages that no caller would write, as raw bytes: broken, packed, endless, pickled",
        "dropped with one line each; the worker goes on",
        (f"{_PAYLOADS}::test_no_message_ends_the_worker_or_comes_back",),
    ),
    Row(
        BROKER,
        "Celery's own tasks, such as `celery.map` over one of ours",
        "dropped with one line each",
        ("tests/acceptance/test_builtin_tasks.py::test_a_worker_drops_celerys_own_tasks",),
    ),
    Row(
        BROKER,
        "a damaged record of the ledger, or one from another place",
        "set aside as a dead letter; others are looked at",
        (
            "tests/integration/test_parking_damaged.py::test_a_record_that_cannot_be_read_is_set_aside_at_once",
            "tests/integration/test_parking_damaged.py::test_a_record_under_another_events_field_is_set_aside",
            "tests/integration/test_parking_damaged.py::test_a_damaged_account_does_not_block_others",
        ),
    ),
    Row(
        BROKER,
        "to read a token, a relink link or a payload there",
        "all are sealed; only the message of `connect_account` is not, until it is taken",
        ("tests/integration/test_ledger_outbox.py::test_no_secret_stands_in_redis_unsealed",),
    ),
    Row(
        NETWORK,
        "a notification that Cronofy did not sign, or one without end",
        "refused and counted; no more is read of a body than a task takes",
        (
            f"{_WEBHOOK}::test_only_what_is_signed_with_one_of_our_secrets_is_taken",
            f"{_WEBHOOK}::test_a_body_that_the_task_would_refuse_is_refused",
            "tests/unit/test_signature.py::test_only_what_was_signed_passes",
        ),
    ),
    Row(
        NETWORK,
        "to pose as the Redis server, as Cronofy or as the mail server",
        "without a trusted certificate it gets neither password nor token",
        (
            f"{_ACL}::test_an_untrusted_server_gets_no_password",
            "tests/integration/test_way_out.py::test_every_guard_holds_through_a_proxy",
            "tests/integration/test_relink_smtp.py::test_tls_is_used_and_verified",
        ),
    ),
    Row(
        TEXT,
        "escape sequences, line breaks, bidi and C1 controls in ids, summaries, addresses, reasons, keys",
        "shown escaped by every command and both forms of the log; JSON stays JSON",
        (
            f"{_TERMINAL}::test_no_command_shows_what_acts_on_a_terminal",
            f"{_TERMINAL}::test_what_is_hostile_is_shown_all_the_same",
            "tests/unit/test_terminal.py::test_no_form_of_the_log_lets_it_act",
        ),
    ),
    Row(
        TEXT,
        "a megabyte of what looks like URLs and passwords",
        "masked in a time that grows with its length, and no faster",
        ("tests/unit/test_masking_time.py::test_a_megabyte_is_masked_in_time",),
    ),
    Row(
        TEXT,
        "headers, links or sentences of ours in a summary or a name that an email repeats",
        "it stays text on its line",
        ("tests/unit/test_mail_compose.py::test_what_people_write_stays_text_on_its_line",),
    ),
    Row(
        BOARD,
        "to write, to have a browser load or run what others wrote, or to be led to another host",
        "it only reads; the headers of every answer forbid the rest",
        (
            "tests/integration/test_board.py::test_it_only_reads",
            "tests/integration/test_web_access.py::test_every_answer_has_strict_headers",
            "tests/integration/test_web_access.py::test_no_answer_leads_to_the_host_that_a_request_names",
        ),
    ),
    Row(
        MAIL,
        "answers that are wrong, late or endless, or that quote what they were told",
        "the email waits or is given up, as the code says; the words go nowhere",
        (
            "tests/integration/test_relink_smtp.py::test_a_broken_conversation_is_retried",
            "tests/integration/test_mail_replies.py::test_a_refusal_is_logged_and_published_with_its_step_and_code",
        ),
    ),
    Row(
        CRONOFY,
        "to have the token sent elsewhere: a next page on another origin, a redirect",
        "not called, not followed",
        (
            f"{_FAULTS}::test_the_token_goes_to_no_other_origin",
            f"{_FAULTS}::test_a_redirect_is_not_followed",
        ),
    ),
    Row(
        CRONOFY,
        "pages of any size and number",
        "bounded one by one, in number and in sum; events that nobody tracks are dropped as they are parsed",
        (
            f"{_MEMORY}::test_events_that_nobody_tracks_are_dropped_as_they_are_parsed",
            f"{_MEMORY}::test_pages_are_bounded_in_sum",
            "tests/integration/test_cronofy_reading.py::test_broken_pages_fail_the_whole_read",
        ),
    ),
    Row(
        CRONOFY,
        "a relink link that leads elsewhere",
        "not mailed, but escalated, with the host at most",
        (
            f"{_LINKS}::test_refused",
            f"{_LINKS}::test_accepted_urls_have_an_allowed_host_and_refused_ones_stay_secret",
        ),
    ),
    Row(
        MACHINE,
        "as another user, to read kept mail, the embedded server's data or its password",
        "the directory and each file are for their owner only, also where they were open before",
        (
            f"{_EMBEDDED}::test_what_holds_the_password_is_for_its_owner_only",
            f"{_EMBEDDED}::test_what_the_server_writes_is_for_its_owner_only",
            "tests/unit/test_relink_smtp.py::test_kept_mail_is_for_its_owner_only",
        ),
    ),
    Row(
        MACHINE,
        "to find a secret in a log, in `doctor`, in a command's output or anywhere in Redis",
        "masked, sealed or never written",
        (
            "tests/faults/test_secrets.py::test_no_planted_secret_is_found_anywhere",
            f"{_DOCTOR}::test_no_finding_shows_the_login_of_a_url",
        ),
    ),
    Row(
        NETWORK,
        "a signed notification at another account's address, or replayed",
        "only the ids that are signed count; what is heard again says nothing",
        (
            "tests/integration/test_signed_ids.py::test_a_notification_at_anothers_address_touches_nobody",
            "tests/integration/test_signed_ids.py::test_a_body_heard_more_than_a_day_ago_only_makes_due",
        ),
    ),
    Row(
        BROKER,
        "to put what is sealed for one account, email or task in the place of another",
        "it does not open there",
        ("tests/integration/test_reseal.py::test_nothing_sealed_opens_elsewhere",),
    ),
    Row(
        BROKER,
        "to find anything of a forgotten account",
        "nothing is left of it",
        ("tests/integration/test_forget.py::test_nothing_of_a_forgotten_account_can_be_found",),
    ),
    Row(
        NETWORK,
        "the board or the metrics without a token: by loopback, a proxy, guessing, a forged cookie",
        "refused; after ten wrong tokens nothing is looked at for a minute",
        (
            "tests/integration/test_web_access.py::test_loopback_opens_nothing",
            "tests/integration/test_web_access.py::test_a_proxy_that_says_nothing_opens_nothing",
            "tests/integration/test_web_sign_in.py::test_guessing_ends",
            "tests/unit/test_web_access.py::test_a_cookie_cannot_be_made_up",
        ),
    ),
    Row(
        NETWORK,
        "connections that say nothing, or a byte now and then",
        "each step has a deadline; the silent make room, and `/healthz` is answered",
        (
            "tests/integration/test_web_silent.py::test_others_are_served_beside_many_that_stopped",
            "tests/integration/test_web_silent.py::test_a_byte_now_and_then_buys_no_time",
            "tests/integration/test_web_silent.py::test_health_is_answered_while_too_many_requests_are_open",
        ),
    ),
)


def report(results: Mapping[str, str]) -> Report:
    """The table for the documentation. `results` has "passed" for each test that passed."""
    rows = [
        dict(zip(HEADINGS, (row.who, row.attempt, *shown_by(row.tests, row.outcome, results)), strict=True))
        for row in ROWS
    ]
    return Report("attempts", "Attempts", HEADINGS, rows)


if __name__ == "__main__":
    print(*dict.fromkeys(test for row in ROWS for test in row.tests), sep="\n")
