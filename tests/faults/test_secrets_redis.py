"""Redis users with minimal rights, as in docs/security.md, and Redis over TLS."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from tests.acceptance.harness import Fleet
from tests.acceptance.processes import run_command
from tests.certificates import Certificate
from tests.faults.fleets import fleet_of_roles
from tests.faults.population import Population
from tests.faults.server import Server, running_server

SECURITY = Path(__file__).parents[2] / "docs" / "security.md"
ADMIN, WORKER, CALLER = "admin-password", "worker-password", "caller-password"


def documented_users() -> list[list[str]]:
    """The users in the document, as arguments of ACL SETUSER, with passwords filled in."""
    lines = [line for line in SECURITY.read_text().splitlines() if line.startswith("user ")]
    named = [line.replace("WORKER_PASSWORD", WORKER).replace("CALLER_PASSWORD", CALLER) for line in lines]
    return [line.split()[1:] for line in named]


def _tls_server(home: Path, long: bool) -> tuple[str, Certificate]:
    if not long:
        pytest.skip("TLS belongs to the long form")
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server on PATH: the embedded one is built without TLS")
    return binary, Certificate.made(home)


@pytest.fixture(scope="module", params=["plain", "TLS"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, long: bool
) -> Iterator[Server]:
    """A server with the documented users, and one for this test."""
    home = tmp_path_factory.mktemp("server")
    binary, tls = _tls_server(home, long) if request.param == "TLS" else (None, None)
    with running_server(home / "redis", binary, ADMIN, tls) as running:
        acl: Callable[..., Any] = running.client.execute_command
        acl("ACL", "SETUSER", "admin", "on", f">{ADMIN}", "~*", "&*", "+@all")
        with Redis.from_url(running.url_of("admin", ADMIN)) as admin:
            run: Callable[..., Any] = admin.execute_command
            for user in documented_users():
                run("ACL", "SETUSER", *user)
            yield running


@pytest.fixture(scope="module")
def fleet(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet running as the documented worker, called by the documented caller."""
    callers = server.url_of("reconciler-caller", CALLER)
    if callers.startswith("rediss://"):
        # Celery's own client needs this set.
        callers += "&ssl_cert_reqs=required"
    with fleet_of_roles(
        tmp_path_factory.mktemp("fleet"),
        ledger=server.url_of("admin", ADMIN),
        callers=callers,
        REDIS_URL=server.url_of("reconciler-worker", WORKER),
    ) as running:
        yield running


def test_thedocumented_users_may_do_all_that_they_have_to(fleet: Fleet) -> None:
    """Every remedy is carried out, questions are answered, and Redis denied nothing."""
    population = Population.of(fleet, 3, 2)
    list(population.track())
    population.relink()

    result = population.settle(120)

    person = population.people[0][1]
    assert (result.lost, result.doubled) == (0, 0)
    assert person.explain("event-0")["state"] == "assigned"
    assert fleet.caller.call("untrack", sub=person.sub, calendar_id=person.calendar_id, event_id="event-0")
    assert "BadPayload" in fleet.caller.failure("track", colour="red")
    shown = fleet.run("explain", person.sub, person.calendar_id, "event-1")
    assert shown.returncode == 0, shown.stderr
    ask: Callable[..., Any] = fleet.redis.execute_command
    # Where 0.1.0 recorded what it held: these users have no rights to it, and workers do without.
    assert [entry for entry in ask("ACL", "LOG") if "unacked_index" not in str(entry)] == []


LEDGER = (
    "HGETALL reconciler:counters; XRANGE reconciler:outcomes - +; HGET reconciler:account:acc credentials"
)
BROKER = (
    "LRANGE reconciler.intake 0 -1; RPOP reconciler.intake; LPUSH reconciler.looks x; DEL reconciler:outbox"
)
CELERY = (
    "HGETALL reconciler.unacked; HGETALL unacked; SET celery-task-meta-x x; PSUBSCRIBE *; "
    "PUBLISH celery-task-meta-x x"
)
SERVER = "KEYS *; SCAN 0; EVAL return(1) 0; FLUSHALL; CONFIG GET *"
OTHERS = (
    "FLUSHALL; KEYS *; CONFIG GET *; ACL LIST; SHUTDOWN; SET billing x; GET billing; HGETALL unacked; MONITOR"
)


DENIED = {
    "reconciler-caller": (CALLER, "; ".join((LEDGER, BROKER, CELERY, SERVER))),
    "reconciler-worker": (WORKER, OTHERS),
}


@pytest.mark.parametrize(
    ("user", "command"),
    [(user, each) for user, (_, commands) in DENIED.items() for each in commands.split("; ")],
)
def test_each_user_keeps_to_what_is_theirs(server: Server, user: str, command: str) -> None:
    """Callers neither read the ledger or others' messages nor write anything but their own; workers use no
    other program's keys; neither administers.
    """
    url = server.url_of(user, DENIED[user][0])
    with Redis.from_url(url) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command.split())


@pytest.mark.parametrize("server", ["TLS"], indirect=True)
def test_an_untrusted_server_gets_no_password(fleet: Fleet, server: Server) -> None:
    """Over TLS, an untrusted certificate stops a command before it sends a password."""
    url = server.url_of("reconciler-worker", WORKER)
    stranger = {**fleet.env, "RECONCILER_REDIS_URL": url.partition("?")[0]}

    refused = run_command(fleet.home, stranger, "explain", "--offline", "acc", "cal", "event")

    assert refused.returncode == 1
    assert "CERTIFICATE_VERIFY_FAILED" in refused.stderr
    assert WORKER not in refused.stderr
