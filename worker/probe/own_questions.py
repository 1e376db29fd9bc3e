"""What the answers about the probe's own event say; pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from worker.probe.finding import Question, Record, Unsettled
from worker.probe.own_event import DESCRIPTION, EXPLICIT_LINK, PLACE, ZONE
from worker.probe.reads import faults, names, text

Judge = Callable[[Record], tuple[str, str]]


def _status_of(name: str) -> Judge:
    def judge(record: Record) -> tuple[str, str]:
        reply = record.reply(name)
        return str(reply.status), faults(reply)

    return judge


def _accepted(record: Record) -> tuple[str, str]:
    reply = record.reply("create")
    return str(reply.status), "with a body" if reply.body is not None else "no JSON in the body."


def _visible(record: Record) -> tuple[str, str]:
    _made(record)
    after = record.reply("pending").after
    return ("at once" if after < 1 else "later"), f"After {after:.1f} s."


def _pending(record: Record) -> tuple[str, str]:
    found = _conferencing(record, "pending")
    if found == {"pending": True}:
        return "pending only", "The whole value is {pending: true}."
    if found.get("join_url"):
        return "assigned at once", f"Fields: {names(found)}."
    return ("pending and more" if found.get("pending") else "absent"), f"Fields: {names(found) or 'none'}."


def _assigned(record: Record) -> tuple[str, str]:
    found = _conferencing(record, "assigned")
    word = "with provider" if found.get("provider_name") else "link only"
    after = record.reply("assigned").after
    return word, f"Fields: {names(found)}; {after:.0f} s after it was first read."


def _default(record: Record) -> tuple[str, str]:
    found = _conferencing(record, "assigned")
    if record.profile_id != "default":
        raise Unsettled("A profile was named with --profile: ask without it.")
    if not found.get("provider_name"):
        raise Unsettled("The event does not name its provider.")
    return text(found["provider_name"]), "Asked for default."


def _description(record: Record) -> tuple[str, str]:
    _made(record)
    shown = record.own("assigned").get("description")
    link = str(_conferencing(record, "assigned").get("join_url"))
    if shown == DESCRIPTION:
        return "as written", "The template is shown as it was written."
    if not shown:
        return "missing", "A read shows none."
    rendered = str(shown) == DESCRIPTION.replace("{{ cronofy.conferencing.join_url }}", link)
    return ("rendered" if rendered else "changed"), f"{len(str(shown))} characters."


def _location(record: Record) -> tuple[str, str]:
    _made(record)
    event = record.own("assigned")
    location = event.get("location")
    shown = location.get("description") if isinstance(location, dict) else None
    link = str(_conferencing(record, "assigned").get("join_url"))
    url = (
        "url is the link" if event.get("url") == link else "url has another" if event.get("url") else "no url"
    )
    if shown == PLACE:
        return "as written", f"{url}."
    if not shown:
        return "missing", f"{url}."
    return ("has the link" if link in str(shown) else "changed"), f"{url}."


def _omitted_description(record: Record) -> tuple[str, str]:
    return _kept(record, "description", lambda event: event.get("description"))


def _omitted_location(record: Record) -> tuple[str, str]:
    return _kept(record, "location", lambda event: event.get("location"))


def _omitted_transparency(record: Record) -> tuple[str, str]:
    before = record.own("pending").get("transparency")
    if before != "transparent":
        raise Unsettled("It was not shown as it was written.")
    after = record.own("omitted, read").get("transparency")
    return ("kept" if after == before else "reset"), f"Now {text(after)}."


def _kept(record: Record, name: str, of: Callable[[dict[str, Any]], Any]) -> tuple[str, str]:
    if not of(record.own("pending")):
        raise Unsettled(f"The event was never shown with its {name}.")
    # The rendered text may still change; what counts is whether there is any.
    return ("kept" if of(record.own("omitted, read")) else "cleared"), "By an update without it."


def _zone(record: Record) -> tuple[str, str]:
    before, after = (_tzid(record.own(name)) for name in ("pending", "omitted, read"))
    if before != ZONE:
        raise Unsettled(f"Written in {ZONE}, it was shown in {text(before)}.")
    return ("kept" if after == before else "reset"), f"Written in UTC without a zone, shown in {text(after)}."


def _tzid(event: dict[str, Any]) -> Any:
    start = event.get("start")
    return start.get("tzid") if isinstance(start, dict) else None


def _block_omitted(record: Record) -> tuple[str, str]:
    before = _conferencing(record, "assigned").get("join_url")
    after = _conferencing(record, "omitted, read").get("join_url")
    return ("kept" if after == before else "changed"), "By an update without a conferencing block."


def _again(record: Record) -> tuple[str, str]:
    before = _conferencing(record, "assigned").get("join_url")
    accepted = record.reply("again")
    if accepted.status >= 300:
        return "refused", f"{accepted.status}; {faults(accepted)}"
    at_once = _conferencing(record, "again, read")
    later = _conferencing(record, "again, later").get("join_url")
    said = "pending at first" if at_once.get("pending") else "never pending"
    return ("same link" if later == before else "another link"), f"{said}."


def _unknown_profile(record: Record) -> tuple[str, str]:
    reply = record.reply("unknown profile")
    if reply.status >= 300:
        return str(reply.status), faults(reply)
    found = record.find_own("unknown profile, read") or {}
    conferencing = found.get("conferencing")
    fields = names(conferencing) if isinstance(conferencing, dict) else "none"
    return str(reply.status), f"Then a read shows conferencing with the fields: {fields}."


def _explicit(record: Record) -> tuple[str, str]:
    reply = record.reply("explicit")
    if reply.status >= 300:
        return "refused", f"{reply.status}; {faults(reply)}"
    found = _conferencing(record, "explicit, read")
    word = (
        "assigned"
        if found.get("join_url") == EXPLICIT_LINK
        else "pending"
        if found.get("pending")
        else "other"
    )
    return word, f"Fields: {names(found) or 'none'}."


def _none(record: Record) -> tuple[str, str]:
    reply = record.reply("none")
    if reply.status >= 300:
        return "refused", f"{reply.status}; {faults(reply)}"
    found = record.own("none, read").get("conferencing")
    fields = names(found) if isinstance(found, dict) else "none"
    return ("kept" if found else "removed"), f"Fields of conferencing: {fields}."


def _other_window(record: Record) -> tuple[str, str]:
    _made(record)
    return ("shown" if record.find_own("other window") else "left out"), "A window a week after the event."


def _event_ids(record: Record) -> tuple[str, str]:
    _made(record)
    reply = record.reply("event_ids")
    if reply.status != 200:
        return str(reply.status), faults(reply)
    return ("ignored" if record.find_own("event_ids") else "narrows"), "Asked for another id."


def _deleted(record: Record) -> tuple[str, str]:
    record.reply("gone")
    found = record.find_own("deleted")
    if found is None:
        return "not shown", "Not with include_deleted either."
    if found.get("deleted") is True:
        return "deleted", f"With deleted: true, status {text(found.get('status'))}."
    return ("cancelled" if found.get("status") == "cancelled" else "still there"), "deleted is not true."


def _conferencing(record: Record, name: str) -> dict[str, Any]:
    found = record.own(name).get("conferencing")
    return found if isinstance(found, dict) else {}


def _made(record: Record) -> None:
    reply = record.reply("create")
    if reply.status >= 300:
        raise Unsettled(f"The event was not accepted ({reply.status}): {faults(reply)}")


def _question(name: str, section: str, asks: str, assumed: str, judge: Judge, *words: str) -> Question:
    return Question(name, section, asks, assumed, judge, frozenset(words) or None, needs_event=True)


OWN_EVENT: tuple[Question, ...] = (
    _question("write.accepted", "§4", "How is a new event accepted?", "Any 2xx.", _accepted, "200", "202"),
    _question("write.visible", "§4", "When does a read show it?", "At some time after the 202.", _visible),
    _question(
        "conferencing.pending",
        "§3",
        "What does a read show while the conference is awaited?",
        "No join_url.",
        _pending,
        "pending only",
        "pending and more",
        "assigned at once",
        "absent",
    ),
    _question(
        "conferencing.assigned",
        "§3",
        "And once it is there?",
        "A join_url; the provider's name may be missing.",
        _assigned,
        "with provider",
        "link only",
    ),
    _question(
        "conferencing.default",
        "§3",
        "What did default become?",
        "Not known; no profile is blamed for it.",
        _default,
    ),
    _question(
        "read.description",
        "§9",
        "What does a read show of a description with a template?",
        "Anything; it is never written back.",
        _description,
    ),
    _question(
        "read.location",
        "§9",
        "What does a read show of the location once the conference is there?",
        "Anything; it is never written back.",
        _location,
    ),
    _question(
        "update.description",
        "§4",
        "Is a description kept by an update without one?",
        "Unknown, so the caller's whole record is sent.",
        _omitted_description,
    ),
    _question(
        "update.location",
        "§4",
        "Is a location?",
        "The same.",
        _omitted_location,
    ),
    _question(
        "update.transparency",
        "§4",
        "Is a transparency?",
        "The same.",
        _omitted_transparency,
    ),
    _question(
        "update.zone",
        "§4",
        "Does an update in UTC without a zone change the event's zone?",
        "It may, so the zone is sent as read.",
        _zone,
    ),
    _question(
        "update.conferencing",
        "§3",
        "Does an update without a conferencing block leave the conference as it is?",
        "Yes.",
        _block_omitted,
        "kept",
    ),
    _question(
        "update.partial",
        "§4",
        "What does an update without summary, start and end give?",
        "A refusal; none is ever sent.",
        _status_of("partial"),
    ),
    _question(
        "update.again",
        "§4",
        "Does the same conferencing block on an assigned event make another conference?",
        "It may, so none is sent to an assigned event.",
        _again,
    ),
    _question(
        "profile.unknown",
        "§3",
        "What does a profile id give that nobody has?",
        "A 422, or an event that stays pending.",
        _unknown_profile,
        "422",
        "202",
        "200",
    ),
    _question(
        "profile.explicit",
        "§3",
        "Is an explicit link there without a pending phase?",
        "Such events need no watching.",
        _explicit,
        "assigned",
    ),
    _question(
        "profile.none",
        "§3",
        "Does the profile id none remove the conference?",
        "Unknown, so it is never sent.",
        _none,
    ),
    _question(
        "events.managed_window",
        "§2",
        "Do from and to limit the application's own events too?",
        "Yes; what a window does not show is looked for without one.",
        _other_window,
    ),
    _question(
        "events.event_ids",
        "§2",
        "Does event_ids[] narrow a read?",
        "Unknown, so it is not sent.",
        _event_ids,
    ),
    _question(
        "events.deleted",
        "§2",
        "How is a deleted event of the application shown with include_deleted?",
        "As deleted, as cancelled, or not at all.",
        _deleted,
        "deleted",
        "cancelled",
        "not shown",
    ),
)
