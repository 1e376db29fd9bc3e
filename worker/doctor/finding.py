"""The results of an examination."""

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
    #: It could not be checked, for a reason that another finding gives.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's: what was checked, how it is, and what to do about it."""

    name: str
    health: Health
    #: What was found; never a secret.
    what: str
    #: What to do about it; empty where there is nothing to do.
    fix: str = ""

    @property
    def as_json(self) -> dict[str, str]:
        """For programs."""
        return {"name": self.name, "state": self.health.value, "what": self.what, "mend": self.fix}


def ok(name: str, what: str) -> Finding:
    """All is well."""
    return Finding(name, Health.OK, what)


def warning(name: str, what: str, fix: str = "") -> Finding:
    """It works, but."""
    return Finding(name, Health.WARNING, what, fix)


def wrong(name: str, what: str, fix: str) -> Finding:
    """It does not work."""
    return Finding(name, Health.WRONG, what, fix)


def skipped(name: str, why: str) -> Finding:
    """It could not be checked."""
    return Finding(name, Health.SKIPPED, why)
