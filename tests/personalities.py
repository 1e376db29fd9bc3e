"""Tests that rest on something that Cronofy's documentation leaves open run with every answer to it."""

from __future__ import annotations

import pytest

from sandbox.personality import TRAITS


def under(*names: str) -> pytest.MarkDecorator:
    """Run a test, which sets them with `set_personality(**traits)`, at each value of these traits.

    The likeliest personality comes first, then those that differ from it in one trait.
    """
    others = [(name, value) for name in names for value in TRAITS[name].values[1:]]
    cases = [pytest.param({}, id="likeliest")]
    cases += [pytest.param({name: value}, id=f"{name}={value}") for name, value in others]
    return pytest.mark.parametrize("traits", cases)
