"""The demo, as somebody runs it who tries the program."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.processes import running_demo

CAUSES = (
    "generating",
    "credentials_expired",
    "profile_removed",
    "event_in_past",
    "missing_meeting_url",
    "provider_outage",
    "account_unauthorized",
    "event_gone",
    "unexplained",
)


def test_the_demo_shows_every_cause_and_ends_well(tmp_path: Path) -> None:
    """It exits with 0, names each cause, and leaves nothing behind in the directory that it is run in."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()

    with running_demo(home, elsewhere) as demo:
        code = demo.process.wait(90)

    shown = demo.output.read_text()
    assert code == 0, shown
    assert [cause for cause in CAUSES if cause not in shown] == []
    assert list(home.iterdir()) == []
