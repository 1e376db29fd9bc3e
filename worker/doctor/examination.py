"""Runs all checks at the same time, so that one that hangs does not hold up the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from threading import Thread

from config.logging import redaction_of
from config.queues import Queues, check_outcome_queue
from config.settings import (
    Settings,
    SettingsError,
    misspelt_settings,
    require_cronofy,
    require_outgoing,
    require_vault,
)
from worker.bootstrap import check_addresses, check_way_out, make_mailer, notifiers_of
from worker.doctor.finding import Finding, ok, warning, wrong
from worker.doctor.fleet import examine_fleet
from worker.doctor.hosts import done_elsewhere
from worker.doctor.neighbours import examine_neighbours
from worker.doctor.outside import (
    examine_cronofy,
    examine_escalations,
    examine_files,
    examine_mail,
    examine_outcome_url,
    examine_user_mail,
    examine_webhook,
)
from worker.doctor.secrets import examine_vault
from worker.doctor.servers import examine_broker, examine_redis
from worker.ledger.layout import NewerLedger

#: Every check bounds its own waits; this bounds them all.
DEADLINE_SECONDS = 12.0

#: What `worker` refuses to start without.
REQUIREMENTS = (
    require_cronofy,
    require_vault,
    require_outgoing,
    check_addresses,
    check_outcome_queue,
    make_mailer,
    notifiers_of,
    check_way_out,
)

Check = Callable[[Settings], Iterable[Finding]]

#: In the order shown.
CHECKS: dict[str, Check] = {
    "redis": examine_redis,
    "broker": examine_broker,
    "neighbours": examine_neighbours,
    "fleet": examine_fleet,
    "vault keys": examine_vault,
    "cronofy": examine_cronofy,
    "mail": examine_mail,
    "user mail": examine_user_mail,
    "escalations": examine_escalations,
    "data directory": examine_files,
    "outcome URL": examine_outcome_url,
    "webhook": examine_webhook,
}


def settings_findings(settings: Settings) -> Iterator[Finding]:
    """Everything a worker would complain about at its start, all at once."""
    complete = True
    for require in REQUIREMENTS:
        try:
            require(settings)
        except SettingsError as error:
            complete = False
            # Beat, for one, is given neither.
            if require in {require_cronofy, require_vault} and done_elsewhere(settings, *Queues._fields):
                yield warning(
                    "settings", str(error).rstrip("."), "give it to workers and serve; others do without"
                )
            elif require is require_outgoing and done_elsewhere(settings, "mail"):
                yield warning("settings", str(error).rstrip("."), "give it to workers of the mail queue")
            else:
                yield _fault(str(error))
    if complete:
        yield ok("settings", "complete")
    for name, meant in misspelt_settings(settings).items():
        yield warning("settings", f"{name} is not a setting", f"did you mean {meant}?")
    if settings.dry_run:
        yield warning("settings", "dry run: nothing is written to Cronofy", "unset RECONCILER_DRY_RUN")


def unreadable(error: SettingsError) -> list[Finding]:
    """One finding per fault in settings that do not load."""
    return [_fault(sentence) for sentence in str(error).splitlines()]


def misread(newer: NewerLedger) -> Finding:
    """The finding for a ledger that this version would misread, so that nothing else is checked."""
    what, _, fix = str(newer).partition(". ")
    return wrong("ledger", what, fix.rstrip("."))


def _fault(sentence: str) -> Finding:
    return wrong("settings", sentence.rstrip("."), "correct it in the environment, in .env or in its file")


def examine(settings: Settings, checks: dict[str, Check] = CHECKS) -> list[Finding]:
    """Run all checks, and report those that do not finish in time."""
    found: dict[str, list[Finding]] = {name: [] for name in checks}
    threads = {}
    for name, check in checks.items():
        # Daemons, so that a hanging check cannot keep the program alive.
        threads[name] = Thread(target=_run, args=(name, check, settings, found[name]), daemon=True)
        threads[name].start()
    deadline = time.monotonic() + DEADLINE_SECONDS
    findings = list(settings_findings(settings))
    for name, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        findings += list(found[name])
        if thread.is_alive():
            fix = "find out what it is waiting for"
            findings.append(wrong(name, f"no answer within {DEADLINE_SECONDS:.0f} s", fix))
    # None should have a secret in it; an error's words may.
    mask = redaction_of(settings).mask
    return [replace(found, what=mask(found.what), fix=mask(found.fix)) for found in findings]


def _run(name: str, check: Check, settings: Settings, found: list[Finding]) -> None:
    try:
        for finding in check(settings):
            found.append(finding)
    except Exception as error:
        # Not its message, which may quote a secret.
        found.append(wrong(name, f"the check failed ({type(error).__name__})", "report this bug"))
