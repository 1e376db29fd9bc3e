"""What an operator sees of a dead letter, and what is replayed."""

from __future__ import annotations

from typing import Any

import pytest

from config.logging import Redaction
from tests.unit.builders import labelled
from worker.intake.replay import BadCorrection, Correction, as_json, corrected, masked_kwargs
from worker.ledger.dead_letters import DeadLetter, KeptLetter

URL = "https://app.cronofy.com/relink/abc"


def kept(task: str = "conferencing.track", **kwargs: Any) -> KeptLetter:
    """A dead letter with this payload."""
    return KeptLetter("1795598779949-0", DeadLetter(task, "because", kwargs))


MASKED = labelled(
    ("nested", "track", {"event": {"access_token": "t"}}, {"event": {"access_token": "***"}}),
    ("by shape", "track", {"event": [{"url": f"see {URL}"}]}, {"event": [{"url": "see ***"}]}),
    ("by value", "track", {"note": "the planted one"}, {"note": "the *** one"}),
    ("positional", "track", {"*": ["a", {"b": 1}]}, {"*": ["***", "***"]}),
    ("misspelt", "connect_account", {"refreshToken": {"a": "b"}}, {"refreshToken": "***"}),
    ("no secret", "connect_account", {"sub": "s", "expires_in": 7}, {"sub": "s", "expires_in": 7}),
    ("own", "receive_notification", {"body": "{}", "signature": "s"}, {"body": "{}", "signature": "***"}),
)


@pytest.mark.parametrize(("task", "kwargs", "shown"), MASKED)
def test_secrets_are_masked(task: str, kwargs: dict[str, Any], shown: dict[str, Any]) -> None:
    """By name at any depth, by shape, by value, and anything that may be one."""
    letter = kept(f"conferencing.{task}", **kwargs)

    assert masked_kwargs(letter, Redaction(["planted"])) == shown
    assert letter.letter.kwargs == kwargs


def test_a_dead_letter_has_the_contracts_form() -> None:
    """The time comes from its id; one that no key opens shows why, and no payload."""
    sealed = KeptLetter("1795598779949-0", DeadLetter("conferencing.track", "because"), "no key fits")

    assert as_json(kept(sub="s"), Redaction([])) == {
        "id": "1795598779949-0",
        "task": "conferencing.track",
        "reason": "because",
        "at": "2026-11-25T09:26:19.949+00:00",
        "kwargs": {"sub": "s"},
    }
    assert as_json(sealed, Redaction([]))["kwargs"] is None
    assert as_json(sealed, Redaction([]))["reason"] == "no key fits"


CORRECTIONS = labelled(
    ("replaced", {"a": 1}, Correction(("a",), 2), {"a": 2}),
    ("inside", {"a": {"b": 1, "c": 2}}, Correction(("a", "b"), None), {"a": {"b": None, "c": 2}}),
    ("made on the way", {}, Correction(("a", "b", "c"), 1), {"a": {"b": {"c": 1}}}),
    ("left out", {"a": 1, "b": 2}, Correction(("a",), remove=True), {"b": 2}),
    ("nothing to leave out", {"a": 1}, Correction(("x", "y"), remove=True), {"a": 1, "x": {}}),
)


@pytest.mark.parametrize(("kwargs", "correction", "sent"), CORRECTIONS)
def test_a_payload_is_corrected(kwargs: dict[str, Any], correction: Correction, sent: dict[str, Any]) -> None:
    """The dead letter itself is unchanged, in case sending fails."""
    letter = kept(**kwargs)
    before = repr(letter)

    assert corrected(letter, [correction]) == sent
    assert repr(letter) == before


def test_a_correction_with_a_wrong_path_is_refused() -> None:
    """A text has no fields."""
    with pytest.raises(BadCorrection, match=r"event\.event_id leads into something that is not an object"):
        corrected(kept(event="text"), [Correction(("event", "event_id"), 1)])
