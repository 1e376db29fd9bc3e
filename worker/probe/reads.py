"""The calls that change nothing, and what their answers say.

Evidence is counts, statuses, and names of fields: nothing that a person wrote, no id of anybody's event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

from worker.cronofy.client import events_path, segment
from worker.cronofy.http import describe_errors
from worker.cronofy.wire import object_in, objects_in
from worker.probe.asking import Asking, Reply, ask
from worker.probe.finding import Question, Record, Unsettled, asked
from worker.wording import amount

UTC_ZONE = ("tzid", "Etc/UTC")
OWN = [UTC_ZONE, ("only_managed", "true"), ("include_managed", "true")]
LOCALIZED = ("localized_times", "true")
#: The three ways to read managed events, each by its name in the record.
FLAGS = {
    "without flags": (UTC_ZONE,),
    "include_managed": (UTC_ZONE, ("include_managed", "true")),
    "only_managed": (UTC_ZONE, ("only_managed", "true")),
}
#: Before the name of a read that is narrowed to the probe's own event.
NARROWED = "own event, "
#: Ids that nothing has.
NO_CALENDAR = "cal_conferencing_reconciler_probe_has_none"
NO_PAGE = "conferencing-reconciler-probe-has-no-such-page"
#: As many pages are followed to see the last one.
MOST_PAGES = 10
#: What the probe asks without an event of its own; last, what needs a calendar that can be written.
READS: list[Question] = []


def ask_reads(asking: Asking, today: date) -> dict[str, Reply]:
    """Everything that needs no calendar."""
    reads = {
        "events": (UTC_ZONE,),
        "localized": (UTC_ZONE, LOCALIZED),
        "far": (UTC_ZONE, ("from", _day(today, -90)), ("to", _day(today, 400))),
        "unknown calendar": (UTC_ZONE, ("calendar_ids[]", NO_CALENDAR)),
        **FLAGS,
    }
    replies = {name: ask_events(asking, *params) for name, params in reads.items()}
    replies["unknown page"] = ask(asking, "GET", f"/v1/events/pages/{NO_PAGE}")
    replies["last page"] = _last_page(asking, replies["events"])
    replies["nobody"] = asking.ask_as_nobody("/v1/userinfo")
    return replies


def ask_events(asking: Asking, *params: tuple[str, str]) -> Reply:
    """The first page of Read Events."""
    return ask(asking, "GET", f"/v1/events?{urlencode(params)}")


def _day(today: date, days: int) -> str:
    return (today + timedelta(days=days)).isoformat()


def _last_page(asking: Asking, reply: Reply) -> Reply:
    for _ in range(MOST_PAGES):
        url = _next(reply)
        if not url:
            break
        reply = ask(asking, "GET", url)
    return reply


def _next(reply: Reply) -> str | None:
    url = object_in(reply.get("pages")).get("next_page")
    return url if isinstance(url, str) else None


def ask_addresses(asking: Asking, calendar_id: str) -> dict[str, Reply]:
    """How ids are written in addresses, by writes that lack all fields.

    Such a write can make nothing, since it has no event id. Its status tells only whether the calendar was
    found.
    """
    raw, unknown = events_path(calendar_id), events_path(NO_CALENDAR)
    encoded = f"/v1/calendars/{coded(calendar_id)}/events"
    replies = {
        "unknown, alone": ask(asking, "POST", unknown, body={}),
        "as it is, alone": ask(asking, "POST", raw, body={}),
        "encoded, alone": ask(asking, "POST", encoded, body={}),
    }
    entries = [{"method": "POST", "relative_url": path, "data": {}} for path in (unknown, raw, encoded)]
    replies["batch"] = ask(asking, "POST", "/v1/batch", body={"batch": entries}, cost=len(entries))
    return replies


def coded(calendar_id: str) -> str:
    """The id with one character encoded: an ``@`` if it has one, otherwise its last."""
    mark = "@" if "@" in calendar_id else calendar_id[-1:]
    head, _, tail = calendar_id.rpartition(mark)
    code = "".join(f"%{byte:02X}" for byte in mark.encode())
    return segment(head) + code + segment(tail)


# Words.


def names(found: Mapping[str, Any]) -> str:
    """The names of an object's fields, as many as fit."""
    shown = sorted(str(name)[:40] for name in found)
    return ", ".join(shown[:20]) + (" and more" if len(shown) > 20 else "")


def text(value: Any) -> str:
    """Something from an answer, cut short."""
    return str(value)[:80]


def faults(reply: Reply) -> str:
    """The keys of a 422; else how many events there are, or that there is no reason."""
    said = describe_errors(reply.get("errors"))
    if said:
        return f"{said}."
    events = reply.get("events")
    return f"{amount(len(events), 'event')}." if isinstance(events, list) else "no reason in the answer."


def status(record: Record, name: str) -> tuple[str, str]:
    """How a call was answered."""
    reply = record.reply(name)
    return str(reply.status), faults(reply)


# UserInfo.


def _data_of(record: Record) -> Mapping[str, Any]:
    """``cronofy.data`` of UserInfo."""
    return object_in(record.json("userinfo").get("cronofy.data"))


def calendars_of(record: Record) -> list[dict[str, Any]]:
    """All calendars that UserInfo lists."""
    profiles = objects_in(_data_of(record).get("profiles"))
    return [each for profile in profiles for each in objects_in(profile.get("profile_calendars"))]


@asked(
    READS,
    "userinfo.conferencing_profiles",
    "§5",
    "Listed; absent says nothing of a removed profile.",
    holds=("listed", "absent"),
)
def _conferencing_profiles(record: Record) -> tuple[str, str]:
    """Does UserInfo list conferencing_profiles, each with an id and whether it is connected?"""
    data = _data_of(record)
    listed = data.get("conferencing_profiles")
    if listed is None:
        return "absent", f"Fields of cronofy.data: {names(data)}."
    profiles = objects_in(listed)
    sound = all(
        isinstance(each.get("profile_id"), str) and isinstance(each.get("profile_connected"), bool)
        for each in profiles
    )
    kinds = Counter(text(each.get("provider_name")) for each in profiles)
    found = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "an empty list"
    fields = names({name: 1 for each in profiles for name in each})
    return ("listed" if sound else "odd"), f"{found}; fields: {fields or 'none'}."


@asked(READS, "userinfo.integrated", "§5", "Where it is missing, nothing is concluded.")
def _integrated(record: Record) -> tuple[str, str]:
    """Do calendars say calendar_integrated_conferencing_available?"""
    calendars = calendars_of(record)
    if not calendars:
        raise Unsettled("UserInfo lists no calendar.")
    said = [each.get("calendar_integrated_conferencing_available") for each in calendars]
    told = [value for value in said if isinstance(value, bool)]
    word = "all" if len(told) == len(said) else "some" if told else "none"
    return word, f"{amount(len(calendars), 'calendar')}: {told.count(True)} true, {told.count(False)} false."


@asked(
    READS,
    "userinfo.relink",
    "§5",
    "https at cronofy.com; others are escalated and not mailed.",
    holds=("cronofy",),
)
def _relink(record: Record) -> tuple[str, str]:
    """Where do the relink URLs of disconnected profiles lead?"""
    data = _data_of(record)
    profiles = objects_in(data.get("profiles")) + objects_in(data.get("conferencing_profiles"))
    lapsed = [each for each in profiles if each.get("profile_connected") is False]
    if not lapsed:
        raise Unsettled("No profile is disconnected: let one lapse, and ask again.")
    places = set()
    for each in lapsed:
        try:
            parts = urlsplit(str(each.get("profile_relink_url") or ""))
            places.add((parts.scheme, parts.hostname or ""))
        except ValueError:
            places.add(("", ""))
    if ("", "") in places:
        return "missing", f"Of {amount(len(lapsed), 'disconnected profile')}, not each has one."
    ours = all(
        scheme == "https" and (host == "cronofy.com" or host.endswith(".cronofy.com"))
        for scheme, host in places
    )
    shown = ", ".join(sorted(f"{scheme}://{host}" for scheme, host in places))
    return ("cronofy" if ours else "elsewhere"), f"They begin with {text(shown)}."


@asked(READS, "userinfo.email", "§5", "If not, relink emails go to the address that connect_account gave.")
def _email(record: Record) -> tuple[str, str]:
    """Does UserInfo give the user's email address?"""
    info = record.json("userinfo")
    given = isinstance(info.get("email"), str) and "@" in info["email"]
    return ("yes" if given else "no"), f"Fields: {names(info)}."


# Read Events.


@asked(READS, "events.all_day", "§2", "As a date.", holds=("date",))
def _all_day(record: Record) -> tuple[str, str]:
    """How is the start of an all-day event shown?"""
    starts = [event.get("start") for event in record.events("events")]
    days = [each for each in starts if _is_date(each)]
    if not days:
        raise Unsettled(f"None of {amount(len(starts), 'event')} on the first page begins with a date.")
    return "date", f"{amount(len(days), 'start')} of {len(starts)} on the first page."


@asked(READS, "events.times", "§2", "Read either way.")
def _times(record: Record) -> tuple[str, str]:
    """Are times in UTC without localized_times?"""
    times = _times_in(record, "events", NARROWED + "only_managed")
    if not all(isinstance(each, str) for each in times):
        return "other", "Not all are strings."
    utc = sum(each.endswith("Z") for each in times)
    word = "utc" if utc == len(times) else "local" if not utc else "mixed"
    return word, f"{utc} of {amount(len(times), 'start')} end in Z."


@asked(READS, "events.localized", "§2", "Read either way; without a zone, the event's own record says it.")
def _localized(record: Record) -> tuple[str, str]:
    """Does localized_times give a time and its zone?"""
    timed = _times_in(record, "localized", "pending")
    objects = [each for each in timed if isinstance(each, dict) and "time" in each and "tzid" in each]
    word = "objects" if len(objects) == len(timed) else "some" if objects else "strings"
    zones = {str(each["tzid"]) for each in objects}
    what = f"{len(objects)} of {amount(len(timed), 'start')} have time and tzid"
    return word, f"{what}, in {amount(len(zones), 'zone')}."


def _times_in(record: Record, name: str, own: str) -> list[Any]:
    """The starts that are no dates in a read, and in one of the probe's own event; Unsettled without any."""
    starts = [event.get("start") for event in _events(record, name, own)]
    times = [each for each in starts if not _is_date(each)]
    if not times:
        raise Unsettled("The reads have no event with a time.")
    return times


def _events(record: Record, name: str, own: str) -> list[dict[str, Any]]:
    """The events in a read, and in one of the probe's own event if there is that."""
    return record.events(name) + (record.events(own) if own in record.replies else [])


def _is_date(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 10


@asked(READS, "events.series", "§2", "A calendar and an event id name one event.", holds=("distinct",))
def _series(record: Record) -> tuple[str, str]:
    """Do the occurrences of a series share their id?"""
    events = record.events("include_managed")
    recurring = [event for event in events if event.get("recurring") is True]
    if len(recurring) < 2:
        raise Unsettled("The first page has not two occurrences of a recurring event.")
    ids = Counter(
        (str(e.get("calendar_id")), str(e.get("event_id") or e.get("event_uid"))) for e in recurring
    )
    shared = sum(count > 1 for count in ids.values())
    fields = sum("series_identifier" in event for event in recurring)
    what = f"{len(recurring)} occurrences, {len(ids)} ids; {fields} have series_identifier."
    return ("shared" if shared else "distinct"), what


@asked(READS, "events.last_page", "§2", "next_page is absent or null.", holds=("absent", "null"))
def _last(record: Record) -> tuple[str, str]:
    """How does the last page say that it is the last?"""
    pages = record.json("last page").get("pages")
    if not isinstance(pages, dict):
        return "no pages", "The answer has no object named pages."
    if pages.get("next_page"):
        raise Unsettled(f"The last page is beyond the first {MOST_PAGES + 1}.")
    word = "null" if "next_page" in pages else "absent"
    return word, f"Fields of pages: {names(pages)}; total {text(pages.get('total'))}."


@asked(READS, "events.page_size", "§2", "Any number.")
def _page_size(record: Record) -> tuple[str, str]:
    """How many events are on a page?"""
    if _next(record.reply("events")) is None:
        raise Unsettled("All events fit on one page: ask for an account with more.")
    size = len(record.events("events"))
    return str(size), f"The first page of {text(record.json('events')['pages'].get('total'))}."


@asked(READS, "events.order", "§2", "Any.")
def _order(record: Record) -> tuple[str, str]:
    """In which order do events come?"""
    starts = [event.get("start") for event in record.events("events")]
    plain = [each for each in starts if isinstance(each, str)]
    if len(set(plain)) < 3:
        raise Unsettled("The first page has too few events to tell.")
    return ("by start" if plain == sorted(plain) else "other"), f"{amount(len(plain), 'event')}."


@asked(READS, "events.far_window", "§2", "Not asked for without only_managed.")
def _far(record: Record) -> tuple[str, str]:
    """What does a window beyond 42 days ago and 201 days ahead give?"""
    word, why = status(record, "far")
    return word, f"from 90 days ago to 400 days ahead; {why}"


@asked(READS, "events.only_managed", "§2", "Yes.", holds=("yes", "shown anyway"))
def _only_managed(record: Record) -> tuple[str, str]:
    """Does only_managed give the application's own events, and those alone?"""
    (ours, others), (plain, _) = _counts(record, "only_managed"), _counts(record, "without flags")
    if others:
        return "no", f"{amount(others, 'event')} of {ours + others} without an event_id."
    if not ours:
        raise Unsettled("The reads have no event of the application.")
    what = f"{ours} with an event_id and none without; {plain} with one if no flag is given."
    return ("shown anyway" if plain else "yes"), what


@asked(READS, "events.include_managed", "§2", "Yes; sent together with only_managed.")
def _include_managed(record: Record) -> tuple[str, str]:
    """Does include_managed add the application's own events?"""
    ours, others = _counts(record, "include_managed")
    if ours:
        return "yes", f"{ours} with an event_id, {others} without."
    if _counts(record, "only_managed")[0]:
        return "no", "only_managed shows events of the application, include_managed none."
    raise Unsettled("The reads have no event of the application.")


def _counts(record: Record, name: str) -> tuple[int, int]:
    """How many events have an event_id and how many have none, here and around the probe's own event."""
    events = _events(record, name, NARROWED + name)
    ours = sum(event.get("event_id") is not None for event in events)
    return ours, len(events) - ours


@asked(
    READS,
    "events.unknown_calendar",
    "§2",
    "404, 410 or 422; then all calendars are read.",
    holds=("404", "410", "422"),
)
def _unknown_calendar(record: Record) -> tuple[str, str]:
    """What does a read narrowed to an unknown calendar give?"""
    return status(record, "unknown calendar")


@asked(
    READS,
    "events.unknown_page",
    "§2",
    "404, 410 or 422; then the next look begins at the first page.",
    holds=("404", "410", "422"),
)
def _unknown_page(record: Record) -> tuple[str, str]:
    """What does a page that does not exist give?"""
    return status(record, "unknown page")


# Headers.


@asked(READS, "headers.rate", "§8", "Not read; Retry-After is honoured with a 429.")
def _rate_headers(record: Record) -> tuple[str, str]:
    """Do answers tell the rate limit?"""
    found = {
        name
        for reply in record.replies.values()
        for name in reply.headers
        if "ratelimit" in name or "rate-limit" in name or name == "retry-after"
    }
    answers = sum(bool(reply.headers) for reply in record.replies.values())
    if not answers:
        raise Unsettled("No answer came.")
    what = f"{amount(answers, 'answer')}: {text(', '.join(sorted(found))) or 'none'}."
    return ("yes" if found else "no"), what


@asked(
    READS,
    "headers.www_authenticate",
    "§7",
    "Not read; any 401 is answered with one refresh.",
    holds=("none", "with error", "without error"),
)
def _www_authenticate(record: Record) -> tuple[str, str]:
    """What does a 401 say in WWW-Authenticate?"""
    reply = record.reply("nobody")
    if reply.status != 401:
        return str(reply.status), "Answered so to a token that nobody has."
    value = reply.headers.get("www-authenticate")
    if value is None:
        return "none", "The 401 has no such header."
    word = "with error" if "error=" in value else "without error"
    return word, f"It begins with {text(value.split(' ')[0])}."


# Addresses and the batch.


@asked(READS, "calendar.unknown", "§4", "404 or 410.", holds=("404", "410"))
def _unknown_write(record: Record) -> tuple[str, str]:
    """What does a write to an unknown calendar give?"""
    return status(record, "unknown, alone")


@asked(READS, "ids.alone", "§4", "Yes.", holds=("found",))
def _plain_alone(record: Record) -> tuple[str, str]:
    """Is a calendar found whose id is in the address as it is?"""
    return _found_alone(record, "as it is, alone")


@asked(READS, "ids.encoded", "§4", "Yes; sent so only where it has to be.", holds=("found",))
def _encoded_alone(record: Record) -> tuple[str, str]:
    """Is it found if a character is encoded, as %40 is for @?"""
    return _found_alone(record, "encoded, alone")


@asked(READS, "batch.status", "§4", "Any 2xx.", holds=("200", "202", "207"))
def _batch_status(record: Record) -> tuple[str, str]:
    """With which status is a batch answered?"""
    reply = record.reply("batch")
    return str(reply.status), f"Entries: {', '.join(map(str, _statuses(reply)))}."


@asked(READS, "batch.ids", "§4", "Yes; what a batch does not find is sent alone.", holds=("found",))
def _plain_in_batch(record: Record) -> tuple[str, str]:
    """Does a batch find a calendar whose id is in relative_url as it is?"""
    unknown, known, _ = _statuses(record.reply("batch"))
    return _found(record, unknown, known)


@asked(READS, "batch.encoded", "§4", "Unknown, so such an id never goes into a batch.")
def _encoded_in_batch(record: Record) -> tuple[str, str]:
    """Does a batch find it if a character is encoded?"""
    unknown, _, known = _statuses(record.reply("batch"))
    return _found(record, unknown, known)


def _found_alone(record: Record, name: str) -> tuple[str, str]:
    return _found(record, record.reply("unknown, alone").status, record.reply(name).status)


def _found(record: Record, unknown: int, known: int) -> tuple[str, str]:
    mark = "@" if "@" in record.calendar_id else "no @, so another character was encoded"
    what = f"A write without fields: {known}; to an unknown calendar: {unknown}; the id has {mark}."
    if unknown in (404, 410):
        return ("found" if known not in (404, 410) else "not found"), what
    raise Unsettled(f"An unknown calendar is not told apart. {what}")


def _statuses(reply: Reply) -> list[int]:
    found = [entry.get("status") for entry in objects_in(reply.get("batch"))]
    statuses = [each for each in found if isinstance(each, int)]
    if len(statuses) != len(found) or len(found) != 3:
        raise Unsettled(f"The batch was answered {reply.status}, without a status for each entry.")
    return statuses
