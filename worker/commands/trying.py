"""The commands to try it with: the sandbox, the demo."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from worker.commands.setup import optional


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=8080, show_default=True, help="The API's port.")
@click.option("--smtp-port", default=8025, show_default=True, help="The mailbox's port.")
@click.option("--client-id", default="sandbox", show_default=True)
@click.option(
    "--client-secret", "client_secrets", multiple=True, default=["sandbox-secret"], show_default=True
)
@click.option("--per-second", default=50, show_default=True, help="Requests per second; 0 for no limit.")
@click.option("--per-minute", default=500, show_default=True, help="Requests per minute; 0 for no limit.")
@click.option("--speed", default=1.0, show_default=True, help="How much faster conferencing is created.")
@click.option("--public-url", default="", help="What its links start with, if not its own address.")
@click.option(
    "--mail-dir", type=click.Path(file_okay=False, path_type=Path), help="Keep emails as files here."
)
@click.option(
    "--personality",
    "choices",
    multiple=True,
    metavar="NAME=VALUE",
    help="How to behave where Cronofy's documentation is silent; may be repeated.",
)
@click.option("--traits", is_flag=True, help="List the names and values for --personality, and end.")
def sandbox(
    host: str, port: int, smtp_port: int, choices: Sequence[str], traits: bool, **options: Any
) -> None:
    """Run the stand-in for Cronofy and its mailbox, for anyone who builds against Cronofy.

    Its address takes the place of https://api.cronofy.com and https://app.cronofy.com. What a person or
    Cronofy would do is done under /sandbox:

    \b
      curl -d '{"email": "dana@example.org"}' localhost:8080/sandbox/accounts
      curl -X POST localhost:8080/sandbox/accounts/SUB/conferencing_profiles
      curl -X POST localhost:8080/sandbox/accounts/SUB/profiles/ID/disconnect
      curl -d '{"kind": "status", "status": 503, "times": 2}' localhost:8080/sandbox/faults
      curl -d '{"seconds": 3600}' localhost:8080/sandbox/clock
      curl -d '{"omitted_fields": "cleared"}' localhost:8080/sandbox/personality
      curl localhost:8080/sandbox/notifications

    Emails sent to its SMTP port are on the page /mail. The whole manual is docs/sandbox.md.
    """
    server, traits_of = optional("sandbox.server", "sandbox"), optional("sandbox.personality", "sandbox")
    if traits:
        click.echo(traits_of.described_traits())
        return
    try:
        personality = traits_of.personality_of(choices)
    except ValueError as wrong:
        raise click.BadParameter(str(wrong), param_hint="--personality") from None
    server.run(host, port, smtp_port, server.SandboxOptions(personality=personality, **options))


@click.command()
@click.option("--speed", default=1.0, show_default=True, help="How much faster than usual things happen.")
@click.option("--keep", is_flag=True, help="Leave everything running at the end, and print where.")
def demo(speed: float, keep: bool) -> None:
    """Show the whole system at work on this machine, with at least one event for every cause."""
    sys.exit(optional("sandbox.demo.show", "sandbox").run(speed=speed, keep=keep))
