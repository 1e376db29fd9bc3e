"""Each official SDK that is here works with the sandbox, as ``docs/sandbox.md`` says."""

from __future__ import annotations

import pytest

from tests.contract.sdks.conformance import SDKS, Sdk, documented, run


@pytest.mark.parametrize("sdk", SDKS, ids=[sdk.name for sdk in SDKS])
def test_every_call_works_as_documented(sdk: Sdk) -> None:
    """To write the table: python -m tests.contract.sdks.conformance"""
    if reason := sdk.missing():
        pytest.skip(reason)
    made = run(sdk)
    assert [each.said for each in made if not each.worked] == []
    column = {call: cell for call, name, cell in documented() if name == sdk.name}
    assert {each.call: f"`{each.said}`" for each in made} == column
