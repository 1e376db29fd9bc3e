"""What no harmless call settles, and how a person may settle it."""

from __future__ import annotations

from typing import NamedTuple


class ByHand(NamedTuple):
    """One unknown thing, and how to settle it; its fields are those of the contract (§6)."""

    section: str
    question: str
    how: str


BY_HAND: tuple[ByHand, ...] = (
    ByHand(
        "§1",
        "Which scopes UserInfo, profiles, channels and conferencing authorisations need",
        "Authorise a test user with one scope at a time, and call each.",
    ),
    ByHand(
        "§2",
        "How long a page's address lives",
        "Keep the next_page of a read with several pages, and call it again after an hour and after a day.",
    ),
    ByHand(
        "§3",
        "What a read shows after profile_missing, and of an event in the past",
        "As a test user, ask for a profile whose login has lapsed, remove it, and read; write an event that "
        "began an hour ago with a conferencing block, and read.",
    ),
    ByHand(
        "§3",
        "How often and for how long Cronofy retries",
        "Let a test user's profile lapse, write an event with both interactions, note when callbacks come.",
    ),
    ByHand(
        "§3",
        "Whether another profile on a pending event makes two meetings",
        "Set a second profile on an event that pends for the first, reconnect both, look into both services.",
    ),
    ByHand(
        "§4",
        "Whether a batch counts as one request or as its entries",
        "Ask Cronofy's support, or see in its usage figures what a batch of 50 adds.",
    ),
    ByHand(
        "§6a",
        "The body of an interaction's callback, and how soon it must be answered",
        "Subscribe an event with an address of yours that keeps raw bodies; answer after 4 s, 6 s and 10 s.",
    ),
    ByHand(
        "§6b",
        "Whether a reconnected profile is notified",
        "Open a channel, let a test user reconnect a profile, and look for another type than `change`.",
    ),
    ByHand(
        "§6c",
        "When a channel's deliveries are repeated, and what a 410 does",
        "Point a channel at an address that answers 503, then 410; note the times, and list the channels.",
    ),
    ByHand(
        "§7",
        "Whether revoking a calendar profile removes conferencing ones, and what its calendar then gives",
        "Revoke a test user's calendar profile; read UserInfo, and events narrowed to its calendar.",
    ),
    ByHand(
        "§7",
        "Whether a removed profile gets its id back, and how soon UserInfo shows a reconnected one",
        "Remove a test user's Zoom and authorise it again; let it lapse and relink it; read UserInfo.",
    ),
    ByHand(
        "§8",
        "Whether a 429 says when to come back",
        "Do not provoke one: look at the budget.paused lines of the log after the next.",
    ),
    ByHand(
        "§9",
        "Conferencing for all-day and recurring events, and for free/busy accounts",
        "Write each as a test user with profile_id default, and read it until it is assigned, for an hour.",
    ),
)
