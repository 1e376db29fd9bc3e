"""The shells complete our commands, with the lines that the contract gives them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from tests.acceptance.processes import RECONCILER, environment
from tests.contract.documents import text_of
from tests.integration.test_command_imports import imported
from tests.terminals import on_a_terminal

LINES = {
    shell: line.rstrip()
    for line, shell in re.findall(
        r"^    (.*_RECONCILER_COMPLETE=(\w+)_source[^#]*)#", text_of("docs/commands.md"), re.MULTILINE
    )
}
#: How each is started without a person's own files.
SHELLS = {
    "bash": ["bash", "--noprofile", "--norc", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config"],
}
#: What is typed before a tab, and what then stands there.
TYPED = {"reconciler healt": "reconciler healthcheck", "reconciler status --wa": "reconciler status --watch"}


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_a_shell_completes_a_command_and_an_option(name: str) -> None:
    """As typed, with a tab."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    with on_a_terminal(SHELLS[name], _environment()) as typist:
        if name == "zsh":
            typist.type("autoload -U compinit; compinit -D\n")
        typist.type(f"{LINES[name]}; echo it' is 'ready\n")
        assert typist.sees("it is ready"), typist.shown
        for typed, completed in TYPED.items():
            typist.type(f"{typed}\t")
            assert typist.sees(completed), typist.shown
            typist.type("\x15")


def test_fish_completes_a_command_and_an_option() -> None:
    """It tells on request what it would offer, with each command's line of the help."""
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    asked = "; ".join(f"complete -C '{typed}'" for typed in TYPED)

    ran = subprocess.run(
        [*SHELLS["fish"], "-c", f"{LINES['fish']}; {asked}"],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    first, second = ran.stdout.splitlines()
    assert first.split("\t") == ["healthcheck", "Check that this host's workers or beats make progress."]
    assert second.split("\t")[0] == "--watch"


def test_the_commands_are_completed_without_an_import_of_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tab is answered at once."""
    monkeypatch.setenv("_RECONCILER_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "reconciler ")
    monkeypatch.setenv("COMP_CWORD", "1")

    found = imported()

    assert "click.shell_completion" in found
    assert not {each for each in found if each.startswith("worker.commands.")} - {"worker.commands.output"}


def _environment() -> dict[str, str]:
    """Our commands are on its path."""
    path = f"{RECONCILER.parent}{os.pathsep}{os.environ['PATH']}"
    return {**environment(), "PATH": path, "TERM": "dumb", "PS1": "> "}
