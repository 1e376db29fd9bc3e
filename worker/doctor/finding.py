"""What the doctor's checks return."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """How bad it is."""

    OK = "ok"
    #: It works, but not as it should.
    WARNING = "warning"
    #: Something does not work, or may lose what is tracked.
    WRONG = "wrong"
    #: Not checked, for a reason that another finding gives.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's: what was checked, how it is, and how to fix it."""

    name: str
    health: Health
    #: What was found; never a secret.
    what: str
    #: How to fix it; empty if there is nothing to fix.
    fix: str = ""

    @property
    def as_json(self) -> dict[str, str]:
        """The finding as in the contract (§6)."""
        return {"name": self.name, "state": self.health.value, "what": self.what, "mend": self.fix}


def ok(name: str, what: str) -> Finding:
    """All is well."""
    return Finding(name, Health.OK, what)


def warning(name: str, what: str, fix: str = "") -> Finding:
    """It works, but not as it should."""
    return Finding(name, Health.WARNING, what, fix)


def wrong(name: str, what: str, fix: str) -> Finding:
    """It does not work."""
    return Finding(name, Health.WRONG, what, fix)


def skipped(name: str, why: str) -> Finding:
    """It could not be checked."""
    return Finding(name, Health.SKIPPED, why)
