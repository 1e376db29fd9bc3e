"""Which profile may replace a removed one: only when exactly one fits (contract §4)."""

from __future__ import annotations

import pytest

from tests.unit.builders import labelled, lapsed, profile
from worker.diagnosis.model import Profile
from worker.diagnosis.replacement import Replacement, choose_replacement

ZOOM, ZOOM_TOO, GO_TO = profile("z1"), profile("z2"), profile("g1", provider="go_to")
UNKNOWN = profile("u1", provider=None)
LAPSED = lapsed("x1")

NO_ZOOM = Replacement(None, "The account has no other connected zoom profile.")
NO_OTHER = Replacement(None, "The account has no other connected profile.")
NEVER = Replacement(None, "By policy, a person chooses the replacement.")
NO_PROVIDER = "The removed profile's provider is unknown, so no replacement can be chosen."
TWO_ZOOMS = Replacement(
    None, "The account has 2 connected zoom profiles; a person has to choose.", ("z1", "z2")
)
TWO_OTHERS = Replacement(None, "The account has 2 connected profiles; a person has to choose.", ("z1", "g1"))
TRIED = Replacement(None, "The only connected zoom profile, z1, was already tried on this event.", ("z1",))


def only(profile_id: str, kind: str = "connected profile") -> Replacement:
    """The only one that fits."""
    return Replacement(profile_id, f"The account's only other {kind} is {profile_id}.", (profile_id,))


ONLY_ZOOM = only("z1", "connected zoom profile")


@pytest.mark.parametrize(
    ("policy", "provider", "profiles", "wrote", "chosen"),
    labelled(
        ("same, none", "same_provider", "zoom", [], (), NO_ZOOM),
        ("same, one among many", "same_provider", "zoom", [GO_TO, ZOOM, UNKNOWN, LAPSED], (), ONLY_ZOOM),
        ("same, two", "same_provider", "zoom", [ZOOM, ZOOM_TOO], (), TWO_ZOOMS),
        ("same, only others", "same_provider", "zoom", [GO_TO, UNKNOWN, LAPSED], (), NO_ZOOM),
        ("same, unknown", "same_provider", None, [UNKNOWN], (), Replacement(None, NO_PROVIDER, ("u1",))),
        ("any, none", "any_connected", "zoom", [LAPSED], (), NO_OTHER),
        ("any, one", "any_connected", "zoom", [GO_TO], (), only("g1")),
        ("any, provider unknown", "any_connected", None, [UNKNOWN], (), only("u1")),
        ("any, two", "any_connected", "zoom", [ZOOM, GO_TO], (), TWO_OTHERS),
        ("never", "never", "zoom", [ZOOM], (), NEVER),
        ("the only one was written", "same_provider", "zoom", [ZOOM], {"z1"}, TRIED),
        ("another was written", "same_provider", "zoom", [ZOOM], {"z2"}, ONLY_ZOOM),
        ("one of two was written", "same_provider", "zoom", [ZOOM, ZOOM_TOO], {"z1"}, TWO_ZOOMS),
    ),
)
def test_choice(
    policy: str, provider: str | None, profiles: list[Profile], wrote: set[str], chosen: Replacement
) -> None:
    """Policy and connected profiles decide, none is set twice, and any doubt is left to a person."""
    assert choose_replacement(provider, profiles, wrote, policy) == chosen
