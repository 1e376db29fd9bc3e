"""The console script ``reconciler`` (contract §5). Exit codes: 0 success, 1 failure, 2 wrong usage."""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from io import StringIO
from types import ModuleType
from typing import TYPE_CHECKING

import click

from config.terminal import shown
from worker.broker.environment import forget_celerys_variables
from worker.commands.output import done_with_its_reader, escape_the_unshowable, say_lines

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: Each command: its module in `worker.commands`, and its line in the help, for which no module is imported.
COMMANDS = {
    "demo": ("trying", "Show the whole system at work on this machine."),
    "up": ("roles", "Run worker and beat, with an embedded Redis if none is set."),
    "worker": ("roles", "Run a worker of a fleet."),
    "beat": ("roles", "Run beat, which starts the sweeps."),
    "serve": ("roles", "Serve the board, the webhook, metrics and probes."),
    "sandbox": ("trying", "Run the stand-in for Cronofy, with its mailbox."),
    "track": ("importing", "Import events to track from a file."),
    "connect": ("importing", "Connect accounts from a file."),
    "adopt": ("adoption", "Take up events that wait for conferencing and that nobody tracked."),
    "untrack": ("untracking", "Stop tracking one event."),
    "forget": ("forgetting", "Delete everything kept about an account."),
    "explain": ("explaining", "Why an event has no conferencing yet, and what comes next."),
    "list": ("listing", "List pending events, the soonest start first."),
    "acknowledge": ("acknowledging", "Answer for events: nobody is told of them again for now."),
    "incidents": ("incidents", "List what has one reason and needs a person."),
    "choose": ("choosing", "Decide what takes the place of a removed profile."),
    "status": ("status", "Show the fleet: backlog, what starts next, budget."),
    "report": ("reporting", "Show how the meetings began: with their link or without, and why."),
    "doctor": ("doctor", "Check settings, servers, Cronofy and mail, and say how to fix them."),
    "letters": ("letters", "The letters to users: list them, show one as it would be sent."),
    "probe": ("probing", "Ask a real account what Cronofy's documentation leaves unknown."),
    "healthcheck": ("health", "Check that this host's workers or beats make progress."),
    "dead-letters": ("dead_letter_group", "What could not be carried out: list, show, replay, drop."),
    "outcomes": ("outcome_group", "Outcomes as they come; what the URL has not taken: list, replay, drop."),
    "pause": ("steering", "Stop every call to Cronofy and every email, fleet-wide."),
    "resume": ("steering", "End a pause."),
    "reseal": ("vault", "Seal everything with the newest vault key, so that older ones may go."),
}


class Commands(click.Group):
    """Imports a command's module when it runs, so that none waits for what only others need."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of this name, if there is one."""
        if cmd_name not in COMMANDS:
            return None
        module = _imported(f"worker.commands.{COMMANDS[cmd_name][0]}")
        # `list` is a name of Python's own.
        name = {"list": "list_events"}.get(cmd_name, cmd_name)
        command: click.Command = getattr(module, name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Each command's line in the help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands and options that begin like this, for a shell to complete."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only a shell asks for it

        commands = [CompletionItem(name, help=line) for name, (_, line) in COMMANDS.items()]
        found = [each for each in commands if each.value.startswith(incomplete)]
        # Not the group's own, which would import every command.
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="conferencing-reconciler")
def cli() -> None:
    """Finds calendar events whose conferencing link never came, diagnoses why, and fixes what it can.

    Settings are environment variables that begin with RECONCILER_, or in .env, or files: see .env.example.
    """


def _imported(module: str) -> ModuleType:
    """Import a module. What it makes stays: to look for garbage in it, even at the end, only costs time."""
    gc.disable()
    try:
        return import_module(module)
    finally:
        gc.freeze()
        gc.enable()


def main() -> None:
    """The console script."""
    forget_celerys_variables()
    escape_the_unshowable()
    try:
        _check_encoding(sys.argv[1:])
        with done_with_its_reader():
            cli(prog_name="reconciler", standalone_mode=False)
    except click.ClickException as error:
        usage = StringIO()
        error.show(usage)
        say_lines(usage.getvalue().rstrip(), err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        # End the line of the prompt, or of "^C".
        click.echo(err=True)
        sys.exit(130)
    except Exception as error:
        sentence = _sentence(error)
        say_lines(_traceback() if sentence is None else f"reconciler: {sentence}", err=True)
        sys.exit(1)


def _check_encoding(arguments: Sequence[str]) -> None:
    for place, argument in enumerate(arguments, 1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise click.UsageError(f"Argument {place} is not UTF-8.") from None


def _sentence(error: Exception) -> str | None:
    """The message for an error that needs no traceback; None for any other."""
    from redis.exceptions import RedisError  # noqa: PLC0415 - `healthcheck` needs neither import

    from config.settings import SettingsError  # noqa: PLC0415 - as above
    from worker.ledger.connection import sentence, takes_no_writes  # noqa: PLC0415 - as above
    from worker.ledger.layout import NewerLedger  # noqa: PLC0415 - as above

    if isinstance(error, SettingsError | NewerLedger):
        return str(error)
    if isinstance(error, RedisError):
        said = sentence(error)
        if said and takes_no_writes(error):
            return said
        return (
            f"{said or 'Redis cannot be used.'}\n{type(error).__name__}: {shown(str(error)).rstrip('.')}. "
            "Run `reconciler doctor` for details."
        )
    return None


def _traceback() -> str:
    """The error's traceback, without secrets."""
    from config.logging import Redaction  # noqa: PLC0415 - as above

    return Redaction(()).mask(traceback.format_exc().rstrip())


if __name__ == "__main__":
    main()
