"""The demo, as somebody runs it who tries the program."""

from __future__ import annotations

from tests.acceptance.processes import Demo

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


def test_the_demo_shows_every_cause_and_ends_well(demo: Demo) -> None:
    """It exits with 0, names each cause, and leaves nothing behind in the directory that it is run in."""
    code = demo.process.wait(60)

    shown = demo.output.read_text()
    assert code == 0, shown
    assert [cause for cause in CAUSES if cause not in shown] == []
    assert list(demo.home.iterdir()) == []
