"""The command that deletes an account."""

from __future__ import annotations

import sys
from contextlib import closing

import click

from config.logging import configure_logging
from config.terminal import shown
from worker.bootstrap import bootstrap
from worker.commands.output import say, suggest
from worker.commands.setup import confirm, settings_of_command
from worker.explain.suggestions import nearest_accounts
from worker.intake import accept
from worker.intake.payloads import AccountOnly
from worker.ledger.lookup import is_known


@click.command()
@click.argument("sub")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(sub: str, yes: bool) -> None:
    """Delete everything kept about an account: credentials, events, history, outcomes, letters and emails."""
    settings = settings_of_command()
    # The command itself prints what it did.
    configure_logging(settings.model_copy(update={"log_level": "warning"}))
    with closing(bootstrap(settings)) as services:
        if not is_known(services.ledger, sub):
            say(f"The account {sub} is not known.", err=True)
            suggest([(near,) for near in nearest_accounts(services.ledger, sub)])
            sys.exit(1)
        pending = len(services.ledger.pending(sub))
        what = f"{sub}, with its credentials and {pending:,} pending event{'' if pending == 1 else 's'}"
        confirm(f"Forget {shown(what)}? This cannot be undone", f"forget {sub}", yes=yes, err=True)
        accept.forget_account(services, AccountOnly(sub=sub))
        say(f"Forgot {what}.")
