"""The console script ``reconciler`` (contract §5). Exit codes: 0 success, 1 failure, 2 wrong usage."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from io import StringIO

import click

from config.terminal import shown
from worker.broker.environment import forget_celerys_variables
from worker.commands.output import escape_the_unshowable, say_lines

#: Each command and its module in `worker.commands`.
COMMANDS = {
    "demo": "roles",
    "up": "roles",
    "worker": "roles",
    "beat": "roles",
    "serve": "roles",
    "sandbox": "roles",
    "track": "events",
    "connect": "events",
    "adopt": "adoption",
    "untrack": "events",
    "forget": "events",
    "explain": "events",
    "list": "listing",
    "acknowledge": "listing",
    "incidents": "incidents",
    "choose": "choosing",
    "status": "inspection",
    "report": "reporting",
    "doctor": "inspection",
    "probe": "probing",
    "healthcheck": "health",
    "dead-letters": "dead_letter_group",
    "pause": "steering",
    "resume": "steering",
    "reseal": "vault",
}


class Commands(click.Group):
    """Imports each command on demand, so that one's dependencies do not slow down the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of this name, if there is one."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"worker.commands.{COMMANDS[cmd_name]}")
        # `list` is a name of Python's own.
        name = {"list": "list_events"}.get(cmd_name, cmd_name)
        command: click.Command = getattr(module, name.replace("-", "_"))
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="conferencing-reconciler")
def cli() -> None:
    """Finds calendar events whose conferencing link never came, diagnoses why, and fixes what it can.

    Settings are environment variables that begin with RECONCILER_, or in .env, or files: see .env.example.
    """


def main() -> None:
    """The console script."""
    forget_celerys_variables()
    escape_the_unshowable()
    try:
        _check_encoding(sys.argv[1:])
        cli(standalone_mode=False)
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
    from worker.ledger.layout import NewerLedger  # noqa: PLC0415 - as above

    if isinstance(error, SettingsError | NewerLedger):
        return str(error)
    if isinstance(error, RedisError):
        return (
            f"Redis is unavailable ({type(error).__name__}): {shown(str(error)).rstrip('.')}.\n"
            "Start it, or correct RECONCILER_REDIS_URL; run `reconciler doctor` for details."
        )
    return None


def _traceback() -> str:
    """The error's traceback, without secrets."""
    from config.logging import Redaction  # noqa: PLC0415 - as above

    return Redaction(()).mask(traceback.format_exc().rstrip())


if __name__ == "__main__":
    main()
