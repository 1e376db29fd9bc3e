"""Recurrence rules: what a rule must have, and when its series happens (§4)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from dateutil import rrule

from sandbox.world.errors import Errors, error
from sandbox.world.moments import Moment, zone

FREQUENCIES = {
    "daily": rrule.DAILY,
    "weekly": rrule.WEEKLY,
    "monthly": rrule.MONTHLY,
    "yearly": rrule.YEARLY,
}
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def rule_errors(recurrence: dict[str, Any]) -> Errors:
    """Return what is wrong with a body's `recurrence`; an empty list of rules ends a series."""
    rules = recurrence.get("rules") or []
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        return {"recurrence.rules": error("errors.invalid", "rules must be a list of objects")}
    errors: Errors = {}
    for n, rule in enumerate(rules):
        frequency, days = rule.get("frequency"), rule.get("by_day")
        where = f"recurrence.rules[{n}]"
        if frequency not in FREQUENCIES:
            key = "errors.not_recognized" if frequency else "errors.required"
            errors[f"{where}.frequency"] = error(key, f"frequency must be one of {', '.join(FREQUENCIES)}")
        for name in ("interval", "count"):
            value = rule.get(name, 1)
            if not isinstance(value, int) or value < 1:
                errors[f"{where}.{name}"] = error("errors.invalid", f"{name} must be a positive integer")
        if days is not None and (frequency != "weekly" or not set(days) <= set(DAYS)):
            errors[f"{where}.by_day"] = error("errors.invalid", "by_day needs weekly, and names of week days")
    return errors


def starts(rule: dict[str, Any], first: Moment, until: datetime) -> list[Moment]:
    """Return when the series begins anew, from its first start on, up to `until`.

    It keeps its time of day in the event's zone, across changes of the clock.
    """
    local = first.instant().astimezone(zone(first.tzid)).replace(tzinfo=None)
    dates = rrule.rrule(
        FREQUENCIES[rule["frequency"]],
        dtstart=local,
        interval=rule.get("interval", 1),
        count=rule.get("count"),
        byweekday=[DAYS.index(day) for day in rule["by_day"]] if rule.get("by_day") else None,
        cache=False,
    )
    found = []
    for moment in dates:
        # Without its offset, the time is read in the event's zone.
        written = moment.isoformat() if isinstance(first.value, datetime) else moment.date().isoformat()
        start = Moment.parse(written, first.tzid)
        if start.instant() > until:
            break
        found.append(start)
    return found
