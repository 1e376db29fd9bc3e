"""Which profile may take a removed one's place: only ever when exactly one fits (contract §4)."""

from __future__ import annotations

import pytest

from tests.unit.builders import lapsed, profile
from worker.diagnosis.model import Profile
from worker.diagnosis.replacement import choose_replacement

REMOVED = "pro_removed"
ZOOM, ZOOM_TOO, GO_TO = profile("pro_z1"), profile("pro_z2"), profile("pro_g1", provider="go_to")
UNKNOWN = profile("pro_u1", provider=None)


@pytest.mark.parametrize(
    ("policy", "provider", "profiles", "chosen", "candidates", "reason"),
    [
        pytest.param(
            "same_provider", "zoom", [], None, (), "no other connected zoom profile", id="same, none"
        ),
        pytest.param("same_provider", "zoom", [ZOOM], "pro_z1", ("pro_z1",), "only other", id="same, one"),
        pytest.param(
            "same_provider",
            "zoom",
            [GO_TO, ZOOM, UNKNOWN],
            "pro_z1",
            ("pro_z1",),
            "",
            id="same, one among many",
        ),
        pytest.param(
            "same_provider",
            "zoom",
            [ZOOM, ZOOM_TOO],
            None,
            ("pro_z1", "pro_z2"),
            "2 connected zoom profiles; a person has to choose",
            id="same, two",
        ),
        pytest.param(
            "same_provider", "zoom", [GO_TO], None, (), "no other", id="same, only another provider"
        ),
        pytest.param("same_provider", "zoom", [UNKNOWN], None, (), "no other", id="same, one of no provider"),
        pytest.param(
            "same_provider", None, [ZOOM], None, ("pro_z1",), "is not on record", id="same, provider unknown"
        ),
        pytest.param(
            "same_provider", None, [UNKNOWN], None, ("pro_u1",), "not on record", id="same, neither known"
        ),
        pytest.param(
            "same_provider",
            "zoom",
            [lapsed("pro_x"), ZOOM],
            "pro_z1",
            ("pro_z1",),
            "",
            id="same, other disconnected",
        ),
        pytest.param(
            "same_provider", "zoom", [lapsed("pro_x")], None, (), "no other", id="same, disconnected"
        ),
        pytest.param("any_connected", "zoom", [], None, (), "no other connected profile", id="any, none"),
        pytest.param("any_connected", "zoom", [GO_TO], "pro_g1", ("pro_g1",), "only other", id="any, one"),
        pytest.param("any_connected", None, [UNKNOWN], "pro_u1", ("pro_u1",), "", id="any, provider unknown"),
        pytest.param(
            "any_connected", "zoom", [ZOOM, GO_TO], None, ("pro_z1", "pro_g1"), "2 connected", id="any, two"
        ),
        pytest.param(
            "any_connected", "zoom", [lapsed("pro_x")], None, (), "no other", id="any, disconnected"
        ),
        pytest.param("never", "zoom", [ZOOM], None, (), "let a person choose", id="never"),
        pytest.param("same_provider", "zoom", [profile(REMOVED)], None, (), "no other", id="same, itself"),
        pytest.param("any_connected", "zoom", [profile(REMOVED)], None, (), "no other", id="any, itself"),
        pytest.param(
            "same_provider", "zoom", [profile(REMOVED), ZOOM], "pro_z1", ("pro_z1",), "", id="itself and one"
        ),
    ],
)
def test_choice(
    policy: str,
    provider: str | None,
    profiles: list[Profile],
    chosen: str | None,
    candidates: tuple[str, ...],
    reason: str,
) -> None:
    """The policy and the connected profiles decide; a doubt is left to a person, in a sentence."""
    choice = choose_replacement(REMOVED, provider, profiles, frozenset(), policy)

    assert (choice.profile_id, choice.candidates) == (chosen, candidates)
    assert reason in choice.reason
    assert choice.reason.endswith(".")


@pytest.mark.parametrize("policy", ["same_provider", "any_connected"])
@pytest.mark.parametrize(
    ("profiles", "wrote", "chosen"),
    [
        pytest.param([ZOOM], {"pro_z1"}, None, id="the only one was written"),
        pytest.param([ZOOM], {"pro_z2"}, "pro_z1", id="another was written"),
        pytest.param([ZOOM, ZOOM_TOO], {"pro_z1"}, None, id="two fit, one was written: still two"),
    ],
)
def test_never_twice(policy: str, profiles: list[Profile], wrote: set[str], chosen: str | None) -> None:
    """A profile that was set on the event before is not set again, and its having failed chooses no other."""
    assert choose_replacement(REMOVED, "zoom", profiles, wrote, policy).profile_id == chosen
