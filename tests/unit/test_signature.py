"""The signature of push notifications: Cronofy's own test vectors, and what must not pass."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cronofy.signature import is_signed, signature_of

BODY = b'{"example":"well-known"}'
VECTORS = [
    ("pDY0Oi7TJSP2hfNmZNkm5", "6r2/HjBkqymGegX0wOfifieeUXbbHwtV/LohHS+jv6c="),
    ("CRN_NggYusqPGLxwjw5FHOJYOqSrTPNXy8WQf14OID", "5DxentQi5YSXODEzTVv06sRwJ3pULIz1KrYv20qxEK0="),
    ("CRN_nGlYDFXwfSXgB9rvGNBJyfE454GGPtWIbNuPwr", "BmQmWVuZ70ILWjr1CAt5oC7YOolgnku4WZtlrKfx/6k="),
]
(OLD, OLD_VALUE), (NEW, NEW_VALUE), (OTHER, OTHER_VALUE) = VECTORS


@pytest.mark.parametrize(("secret", "value"), VECTORS, ids=["one", "two", "three"])
def test_cronofys_own_examples_pass(secret: str, value: str) -> None:
    """The documented header follows from its body and secret."""
    assert signature_of(BODY, secret) == value
    assert is_signed(BODY, value, [secret])


@pytest.mark.parametrize(
    ("header", "secrets", "fits"),
    [
        pytest.param(f"{NEW_VALUE},{OLD_VALUE}", [OLD], True, id="two values, our secret is the second"),
        pytest.param(f"{NEW_VALUE}, {OLD_VALUE}", [OLD], True, id="with a blank"),
        pytest.param(f"  {NEW_VALUE}\t", [NEW], True, id="blanks around"),
        pytest.param(NEW_VALUE, [OTHER, NEW], True, id="two secrets, one value"),
        pytest.param(f",,{NEW_VALUE},", [NEW], True, id="empty values between"),
        pytest.param(f"garbage,{NEW_VALUE}", [NEW], True, id="garbage before"),
        pytest.param(OTHER_VALUE, [OLD, NEW], False, id="another secret's"),
        pytest.param("", [NEW], False, id="no value"),
        pytest.param(",", [NEW], False, id="only a comma"),
        pytest.param(NEW_VALUE, [], False, id="no secret"),
        pytest.param(NEW_VALUE[:-1], [NEW], False, id="cut short"),
        pytest.param(NEW_VALUE.lower(), [NEW], False, id="in lower case"),
        pytest.param(NEW_VALUE + "x", [NEW], False, id="too long"),
        pytest.param("ünïcødé ☎ \ud800", [NEW], False, id="no ASCII"),
    ],
)
def test_a_header_passes_if_any_value_does(header: str, secrets: list[str], fits: bool) -> None:
    """One value per active secret, with or without blanks."""
    assert is_signed(BODY, header, secrets) is fits


@pytest.mark.parametrize("body", [b"", BODY + b" ", BODY[:-1], b'{"example": "well-known"}'])
def test_another_body_does_not_pass(body: bytes) -> None:
    """The raw bytes count, not their meaning."""
    assert not is_signed(body, NEW_VALUE, [NEW])


@given(body=st.binary(max_size=50), secret=st.text(min_size=1, max_size=20).filter(str.isprintable))
def test_only_what_was_signed_passes(body: bytes, secret: str) -> None:
    """Any body and secret; the signature of another body or secret never passes."""
    header = signature_of(body, secret)

    assert is_signed(body, header, [secret])
    assert not is_signed(body + b"x", header, [secret])
    assert not is_signed(body, header, [secret + "x"])
