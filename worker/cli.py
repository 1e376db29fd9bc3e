"""The console script ``reconciler`` (contract §5). Exit codes: 0 done, 1 it failed, 2 wrong usage."""

from __future__ import annotations

import sys

import click
from redis.exceptions import RedisError

from config.settings import SettingsError
from worker.commands import events, letters, operations, roles


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="conferencing-reconciler")
def cli() -> None:
    """Notices calendar events whose conference never came, finds out why, and mends what can be mended.

    Settings are environment variables that begin with RECONCILER_, or a .env file: see .env.example.
    """


for command in (
    roles.demo,
    roles.up,
    roles.worker,
    roles.beat,
    roles.sandbox,
    events.track,
    events.explain,
    letters.dead_letters,
    operations.pause,
    operations.resume,
):
    cli.add_command(command)


def main() -> None:
    """The console script."""
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except SettingsError as error:
        click.echo(f"reconciler: {error}", err=True)
        sys.exit(1)
    except RedisError as error:
        click.echo(f"reconciler: Redis cannot be used ({type(error).__name__}): {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
