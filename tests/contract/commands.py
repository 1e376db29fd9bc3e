"""The commands of the console script, by name."""

from __future__ import annotations

import click

from worker.cli import cli

_CONTEXT = click.Context(cli)

COMMANDS = {
    name: command for name in cli.list_commands(_CONTEXT) if (command := cli.get_command(_CONTEXT, name))
}
