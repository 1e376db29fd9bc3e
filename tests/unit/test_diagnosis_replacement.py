"""Which profile may replace a removed one: only when exactly one fits, of the same person (contract §4)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.builders import CALENDAR, calendar, labelled, lapsed, profile, request, userinfo
from worker.diagnosis.model import Calendar, Chosen, Profile
from worker.diagnosis.replacement import (
    Replacement,
    choose_replacement,
    chosen_replacement,
    possible_choices,
)

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
    asked = request(provider_name=provider, wrote=frozenset(wrote))

    assert choose_replacement(asked, profiles, policy) == chosen


DANA, LEE = "dana@example.org", "lee@example.org"
LEE_FOR_DANA = f'named "{LEE}", while the removed one was named "{DANA}"'
DANA_FOR_LEE = f'named "{DANA}", while the removed one was named "{LEE}"'
NAMELESS = "which has no name"
NEITHER = f"{NAMELESS}; the removed one's was never seen"
NEVER_SEEN = "the removed one's name was never seen, and this"
NOT_THE_EMAIL = f"{NEVER_SEEN} is not the account's email address"
NO_EMAIL = f"{NEVER_SEEN} is not known to be the account's email address"


@pytest.mark.parametrize("policy", ["same_provider", "any_connected"])
@pytest.mark.parametrize(
    ("removed", "email", "candidate", "doubt"),
    labelled(
        ("the same name", DANA, None, DANA, None),
        ("the same name, whatever the account's email", "Dana", LEE, "Dana", None),
        ("the same but for case and blanks", "Dana@Example.org", None, " dana@example.org", None),
        ("another name", DANA, None, LEE, LEE_FOR_DANA),
        ("another name, though the account's email", LEE, DANA, DANA, DANA_FOR_LEE),
        ("no name any more", DANA, DANA, None, f'{NAMELESS}, while the removed one was named "{DANA}"'),
        ("never seen, the account's email", None, DANA, DANA, None),
        ("never seen, its email but for case", None, DANA, "DANA@example.org", None),
        ("a blank name, the account's email", " ", DANA, DANA, None),
        ("never seen, another email", None, DANA, LEE, f'named "{LEE}"; {NOT_THE_EMAIL}'),
        ("never seen, a name that is no email", None, DANA, "Dana", f'named "Dana"; {NOT_THE_EMAIL}'),
        ("never seen, and no email", None, None, DANA, f'named "{DANA}"; {NO_EMAIL}'),
        ("neither has a name", None, DANA, None, NEITHER),
        ("nothing is known", None, None, None, NEITHER),
        ("blank all over", " ", " ", " ", NEITHER),
        (
            "a long name",
            "d" * 101,
            None,
            "l" * 100,
            f'named "{"l" * 100}", while the removed one was named "{"d" * 99}…"',
        ),
    ),
)
def test_two_people_on_one_account(
    policy: str, removed: str | None, email: str | None, candidate: str | None, doubt: str | None
) -> None:
    """The one that fits is set only if its name agrees; otherwise a person chooses, told both names."""
    asked = request(profile_name=removed, account_email=email)
    kind = "connected zoom profile" if policy == "same_provider" else "connected profile"
    chosen = only("z1", kind)
    if doubt:
        reason = f"The account's only other {kind} is z1, {doubt}; a person has to choose."
        chosen = Replacement(None, reason, ("z1",))

    assert choose_replacement(asked, [profile("z1", name=candidate)], policy) == chosen


def test_names_do_not_choose_among_several() -> None:
    """With more than one that fits, a person chooses, though only one bears the name."""
    two = [profile("z1", name=DANA), profile("z2", name=LEE)]

    assert choose_replacement(request(profile_name=DANA), two, "same_provider") == TWO_ZOOMS


HAS_IT, LACKS_IT, NOT_SAID = (calendar(integrated=integrated) for integrated in (True, False, None))
ANOTHER_HAS, ANOTHER_LACKS = (replace(each, calendar_id="cal_2") for each in (HAS_IT, LACKS_IT))
ALL, NOT_ITS_OWN = ("z1", "integrated", "default"), ("z1", "default")


@pytest.mark.parametrize(
    ("calendars", "calendar_id", "possible"),
    labelled(
        ("its calendar has conferencing", (HAS_IT,), CALENDAR, ALL),
        ("nobody says whether it has", (NOT_SAID,), CALENDAR, ALL),
        ("it is not listed", (ANOTHER_LACKS,), CALENDAR, ALL),
        ("it has none", (LACKS_IT,), CALENDAR, NOT_ITS_OWN),
        ("it has none, but another has", (LACKS_IT, ANOTHER_HAS), CALENDAR, NOT_ITS_OWN),
        ("for events of any calendar, one has it", (LACKS_IT, ANOTHER_HAS), None, ALL),
        ("for events of any calendar, none has it", (LACKS_IT, ANOTHER_LACKS), None, NOT_ITS_OWN),
    ),
)
def test_what_a_person_may_choose(
    calendars: tuple[Calendar, ...], calendar_id: str | None, possible: tuple[str, ...]
) -> None:
    """A connected profile, Cronofy's choice, or the calendar's own conferencing unless it has none."""
    assert possible_choices(userinfo(ZOOM, LAPSED, calendars=calendars), calendar_id) == possible


@pytest.mark.parametrize(
    ("to", "wrote", "profile_id", "reason"),
    labelled(
        ("connected", "z1", (), "z1", "z1, which Dana chose, takes its place."),
        ("Cronofy's choice", "default", ("z1",), "default", "default, which Dana chose, takes its place."),
        ("disconnected since", "x1", (), None, "x1, which Dana chose, is not available now."),
        ("removed since", "z9", (), None, "z9, which Dana chose, is not available now."),
        (
            "its calendar has no conferencing",
            "integrated",
            (),
            None,
            "integrated, which Dana chose, is not available now.",
        ),
        (
            "set before",
            "z1",
            ("z1",),
            None,
            "z1, which Dana chose, was already tried on this event.",
        ),
    ),
)
def test_what_a_person_chose_is_set_if_it_can_be(
    to: str, wrote: tuple[str, ...], profile_id: str | None, reason: str
) -> None:
    """Once; otherwise they read why not, and what they may choose now."""
    listed = userinfo(ZOOM, LAPSED, calendars=(LACKS_IT, ANOTHER_HAS))

    chosen = chosen_replacement(Chosen(to, "Dana"), request(wrote=frozenset(wrote)), listed)

    assert chosen == Replacement(profile_id, reason, NOT_ITS_OWN)
