"""The report: how the meetings of some days began, and what that took. Pure, but for `read_report`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from redis import Redis

from worker.ledger.keys import Keys
from worker.ledger.tallies import DEEDS, SETTLES, CountedMeeting, Day, Done, Link, read_days
from worker.wording import spoken

#: What we did, for people.
DONE = {
    Done.NOTHING: "only looked",
    Done.REASSIGNED: "set another profile",
    Done.RELINKED: "user connected it again",
    Done.CONNECTED: "set what the user connected",
    Done.DECIDED: "set what a person chose",
    Done.LAST_RESORT: "used the last resort",
    Done.ASKED: "asked a user or a person",
}


@dataclass(frozen=True, slots=True)
class Row:
    """The meetings that have something in common, by how they began."""

    name: str
    links: Counter[Link]


@dataclass(frozen=True, slots=True)
class Report:
    """The meetings that start on these days, in UTC, and what the fleet did on them."""

    days: tuple[Day, ...]

    @property
    def first(self) -> date:
        return self.days[0].date

    @property
    def last(self) -> date:
        """The last day, which is among them."""
        return self.days[-1].date

    @property
    def links(self) -> Counter[Link]:
        """All meetings, by how they began."""
        return links_of(self.days)

    @property
    def possible(self) -> int:
        """Meetings that could have had their link."""
        return self.links[Link.WITH] + self.links[Link.WITHOUT]

    @property
    def share(self) -> float | None:
        """Which part of them began with it, from 0 to 1; None if there are none."""
        return self.links[Link.WITH] / self.possible if self.possible else None

    @property
    def causes(self) -> tuple[Row, ...]:
        """By what stood in the way, the most frequent first."""
        return self._by(lambda meeting: meeting.cause.value)

    @property
    def done(self) -> tuple[Row, ...]:
        return self._by(lambda meeting: meeting.done.value)

    @property
    def providers(self) -> tuple[Row, ...]:
        return self._by(lambda meeting: meeting.provider)

    @property
    def deeds(self) -> Mapping[str, int]:
        """What the fleet did: `DEEDS`."""
        return {deed: sum(day.deeds.get(deed, 0) for day in self.days) for deed in DEEDS}

    def took(self, part: float) -> float | None:
        """Within how many seconds this part of the links was there.

        None if there was no link, or it took longer than a week.
        """
        buckets: Counter[int] = Counter()
        for day in self.days:
            buckets.update(day.took)
        left = part * sum(buckets.values())
        for bucket, bound in enumerate(SETTLES.bounds):
            left -= buckets[bucket]
            if left <= 0 and buckets.total():
                return bound
        return None

    @property
    def as_json(self) -> dict[str, Any]:
        """The contract's fields (§6)."""
        return {
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
            "share": self.share,
            **_counts(self.links),
            "took_seconds": {"half": self.took(0.5), "nine_of_ten": self.took(0.9)},
            **self.deeds,
            "causes": [{"cause": row.name, **_counts(row.links)} for row in self.causes],
            "done": [{"done": row.name, **_counts(row.links)} for row in self.done],
            "providers": [{"provider_name": row.name, **_counts(row.links)} for row in self.providers],
            "days": [
                {"date": day.date.isoformat(), **_counts(links_of([day])), **day.deeds} for day in self.days
            ],
        }

    def _by(self, name: Callable[[CountedMeeting], str]) -> tuple[Row, ...]:
        rows: dict[str, Counter[Link]] = {}
        for day in self.days:
            for meeting, number in day.meetings.items():
                rows.setdefault(name(meeting), Counter())[meeting.link] += number
        found = (Row(each, links) for each, links in rows.items() if links.total() > 0)
        return tuple(sorted(found, key=lambda row: (-row.links.total(), row.name)))


def links_of(days: Iterable[Day]) -> Counter[Link]:
    """The meetings of these days, by how they began."""
    links: Counter[Link] = Counter()
    for day in days:
        for meeting, number in day.meetings.items():
            links[meeting.link] += number
    return links


def read_report(redis: Redis, keys: Keys, first: date, last: date) -> Report:
    """The report on these days. RedisError if the ledger is away."""
    return Report(read_days(redis, keys, first, last))


def last_days(now: datetime, span: timedelta) -> tuple[date, date]:
    """The days that a time up to now consists of, the first of them whole, and today."""
    today = now.astimezone(UTC).date()
    return today - timedelta(days=max(1, span.days)) + timedelta(days=1), today


def sentences(report: Report) -> list[str]:
    """What the report comes to, a sentence each."""
    links, deeds, found = report.links, report.deeds, []
    if report.share is None:
        found.append("No meeting began that could have had its link.")
    else:
        found.append(
            f"{percent(report.share)} of the meetings began with their link: "
            f"{links[Link.WITH]:,} of {report.possible:,} that could have had one."
        )
    if late := links[Link.TOO_LATE]:
        what = "1 more was" if late == 1 else f"{late:,} more were"
        found.append(f"{what} tracked less than two minutes before the start.")
    half, most = report.took(0.5), report.took(0.9)
    if half is not None:
        rest = f"nine of ten within {spoken(most)}" if most else "one in ten took longer than a week"
        found.append(f"From track to link: half within {spoken(half)}, {rest}.")
    if deeds["asked"]:
        part = percent(min(1, deeds["back"] / deeds["asked"]))
        found.append(
            f"Users were asked {deeds['asked']:,} times to connect something, and did {deeds['back']:,} "
            f"times ({part})."
        )
    calls = f"{deeds['calls']:,} calls to Cronofy"
    if total := links.total():
        calls += f", {deeds['calls'] / total:.1f} for each meeting"
    return [*found, f"{calls}; {deeds['mails']:,} emails."]


def percent(part: float) -> str:
    """A part of 1 for people; 100 % only if it is all."""
    shown = f"{part * 100:.1f}"
    return "99.9 %" if shown == "100.0" and part < 1 else f"{shown.removesuffix('.0')} %"


def _counts(links: Counter[Link]) -> dict[str, int]:
    return {link.value: links[link] for link in Link}
