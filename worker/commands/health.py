"""The containers' probe, which imports next to nothing, since it runs every few seconds."""

from __future__ import annotations

import sys

import click

from worker.commands.output import say
from worker.host.liveness import STALE_SECONDS, living


@click.command()
@click.argument("role", type=click.Choice(["worker", "beat"]))
@click.option(
    "--stale-after",
    type=click.FloatRange(min=0, min_open=True),
    default=STALE_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="A process silent for longer is stuck.",
)
def healthcheck(role: str, stale_after: float) -> None:
    """Check that every worker (or beat) of this user on this host makes progress: exit 0 if so, 1 if not.

    It asks neither Redis nor Cronofy, since their outages are not the process's fault.
    """
    processes = living(role)
    stuck = [each for each in processes if each.age_seconds > stale_after]
    if not processes:
        say(f"No {role} of this user is running on this host.", err=True)
        sys.exit(1)
    for each in stuck:
        say(f"The {role} with pid {each.pid} has been stuck for {each.age_seconds:.0f} s.", err=True)
    if stuck:
        sys.exit(1)
    say(f"{len(processes)} {role}{'s' if len(processes) > 1 else ''} well.")
