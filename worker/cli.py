"""The console script ``reconciler`` (contract §5). Exit codes: 0 done, 1 it failed, 2 wrong usage."""

from __future__ import annotations

import sys
from collections.abc import Iterator, MutableMapping
from importlib import import_module

import click


class Commands(MutableMapping[str, click.Command]):
    """The commands by name, each imported when it is asked for: what one needs costs the others no time."""

    def __init__(self, modules: dict[str, str]) -> None:
        """`modules`: for each name the module of `worker.commands` that has it."""
        self._modules = modules
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            module = import_module(f"worker.commands.{self._modules[name]}")
            self._loaded[name] = getattr(module, name.replace("-", "_"))
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._modules[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


COMMANDS = Commands(
    {
        "demo": "roles",
        "up": "roles",
        "worker": "roles",
        "beat": "roles",
        "serve": "roles",
        "sandbox": "roles",
        "track": "events",
        "untrack": "events",
        "forget": "events",
        "explain": "events",
        "status": "inspection",
        "doctor": "inspection",
        "healthcheck": "health",
        "dead-letters": "dead_letter_group",
        "pause": "steering",
        "resume": "steering",
    }
)


@click.group(commands=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="conferencing-reconciler")
def cli() -> None:
    """Notices calendar events whose conference never came, finds out why, and mends what can be mended.

    Settings are environment variables that begin with RECONCILER_, or a .env file: see .env.example.
    """


def main() -> None:
    """The console script."""
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        # The line of a question, or of "^C", ends here.
        click.echo(err=True)
        sys.exit(130)
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        click.echo(f"reconciler: {sentence}", err=True)
        sys.exit(1)


def _sentence(error: Exception) -> str | None:
    """What to say of an error that needs no traceback; None of any other."""
    # Only now: a command that went well may never have needed them.
    from redis.exceptions import RedisError  # noqa: PLC0415

    from config.settings import SettingsError  # noqa: PLC0415

    if isinstance(error, SettingsError):
        return str(error)
    if isinstance(error, RedisError):
        return (
            f"Redis cannot be used ({type(error).__name__}): {str(error).rstrip('.')}.\n"
            "Start it, or correct RECONCILER_REDIS_URL; `reconciler doctor` looks closer."
        )
    return None


if __name__ == "__main__":
    main()
