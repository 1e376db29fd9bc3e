"""What the answers about the probe's own event say; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from worker.cronofy.wire import object_in
from worker.probe.finding import Question, Record, Unsettled, asked
from worker.probe.own_event import DESCRIPTION, EXPLICIT_LINK, PLACE, ZONE
from worker.probe.reads import faults, names, status, text

#: What the probe asks by an event of its own.
OWN_EVENT: list[Question] = []


@asked(OWN_EVENT, "write.accepted", "§4", "Any 2xx.", holds=("200", "202"))
def _accepted(record: Record) -> tuple[str, str]:
    """How is a new event accepted?"""
    reply = record.reply("create")
    return str(reply.status), "with a body" if reply.body is not None else "no JSON in the body."


@asked(OWN_EVENT, "write.visible", "§4", "At some time after the 202.")
def _visible(record: Record) -> tuple[str, str]:
    """When does a read show it?"""
    _made(record)
    after = record.reply("pending").after
    return ("at once" if after < 1 else "later"), f"After {after:.1f} s."


@asked(
    OWN_EVENT,
    "conferencing.pending",
    "§3",
    "No join_url.",
    holds=("pending only", "pending and more", "assigned at once", "absent"),
)
def _pending(record: Record) -> tuple[str, str]:
    """What does a read show while the conference is awaited?"""
    found = _conferencing(record, "pending")
    if found == {"pending": True}:
        return "pending only", "The whole value is {pending: true}."
    if found.get("join_url"):
        return "assigned at once", f"Fields: {names(found)}."
    return ("pending and more" if found.get("pending") else "absent"), f"Fields: {names(found) or 'none'}."


@asked(
    OWN_EVENT,
    "conferencing.assigned",
    "§3",
    "A join_url; the provider's name may be missing.",
    holds=("with provider", "link only"),
)
def _assigned(record: Record) -> tuple[str, str]:
    """And once it is there?"""
    found = _conferencing(record, "assigned")
    word = "with provider" if found.get("provider_name") else "link only"
    after = record.reply("assigned").after
    return word, f"Fields: {names(found)}; {after:.0f} s after it was first read."


@asked(OWN_EVENT, "conferencing.default", "§3", "Not known; no profile is blamed for it.")
def _default(record: Record) -> tuple[str, str]:
    """What did default become?"""
    found = _conferencing(record, "assigned")
    if record.profile_id != "default":
        raise Unsettled("A profile was named with --profile: ask without it.")
    if not found.get("provider_name"):
        raise Unsettled("The event does not name its provider.")
    return text(found["provider_name"]), "Asked for default."


@asked(OWN_EVENT, "read.description", "§9", "Anything; it is never written back.")
def _description(record: Record) -> tuple[str, str]:
    """What does a read show of a description with a template?"""
    _made(record)
    shown = record.own("assigned").get("description")
    link = str(_conferencing(record, "assigned").get("join_url"))
    if shown == DESCRIPTION:
        return "as written", "The template is shown as it was written."
    if not shown:
        return "missing", "A read shows none."
    rendered = str(shown) == DESCRIPTION.replace("{{ cronofy.conferencing.join_url }}", link)
    return ("rendered" if rendered else "changed"), f"{len(str(shown))} characters."


@asked(OWN_EVENT, "read.location", "§9", "Anything; it is never written back.")
def _location(record: Record) -> tuple[str, str]:
    """What does a read show of the location once the conference is there?"""
    _made(record)
    event = record.own("assigned")
    shown = object_in(event.get("location")).get("description")
    link = str(_conferencing(record, "assigned").get("join_url"))
    url = (
        "url is the link" if event.get("url") == link else "url has another" if event.get("url") else "no url"
    )
    if shown == PLACE:
        return "as written", f"{url}."
    if not shown:
        return "missing", f"{url}."
    return ("has the link" if link in str(shown) else "changed"), f"{url}."


@asked(OWN_EVENT, "update.description", "§4", "Unknown, so the caller's whole record is sent.")
def _omitted_description(record: Record) -> tuple[str, str]:
    """Is a description kept by an update without one?"""
    return _kept(record, "description")


@asked(OWN_EVENT, "update.location", "§4", "The same.")
def _omitted_location(record: Record) -> tuple[str, str]:
    """Is a location?"""
    return _kept(record, "location")


@asked(OWN_EVENT, "update.transparency", "§4", "The same.")
def _omitted_transparency(record: Record) -> tuple[str, str]:
    """Is a transparency?"""
    return _still(record, "transparent", lambda event: event.get("transparency"))


def _kept(record: Record, name: str) -> tuple[str, str]:
    if not record.own("pending").get(name):
        raise Unsettled(f"The event was never shown with its {name}.")
    # The rendered text may still change; what counts is whether there is any.
    kept = record.own("omitted, read").get(name)
    return ("kept" if kept else "cleared"), "By an update without it."


@asked(OWN_EVENT, "update.zone", "§4", "It may, so the zone is sent as read.")
def _zone(record: Record) -> tuple[str, str]:
    """Does an update in UTC without a zone change the event's zone?"""
    return _still(record, ZONE, lambda event: object_in(event.get("start")).get("tzid"))


def _still(record: Record, written: str, of: Callable[[dict[str, Any]], Any]) -> tuple[str, str]:
    before, after = (of(record.own(name)) for name in ("pending", "omitted, read"))
    if before != written:
        raise Unsettled(f"Written as {written}, it was shown as {text(before)}.")
    return ("kept" if after == before else "reset"), f"Now {text(after)}."


@asked(OWN_EVENT, "update.conferencing", "§3", "Yes.", holds=("kept",))
def _block_omitted(record: Record) -> tuple[str, str]:
    """Does an update without a conferencing block leave the conference as it is?"""
    before = _conferencing(record, "assigned").get("join_url")
    after = _conferencing(record, "omitted, read").get("join_url")
    return ("kept" if after == before else "changed"), "By an update without a conferencing block."


@asked(OWN_EVENT, "update.partial", "§4", "A refusal; none is ever sent.")
def _partial(record: Record) -> tuple[str, str]:
    """What does an update without summary, start and end give?"""
    return status(record, "partial")


@asked(OWN_EVENT, "update.again", "§4", "It may, so none is sent to an assigned event.")
def _again(record: Record) -> tuple[str, str]:
    """Does the same conferencing block on an assigned event make another conference?"""
    before = _conferencing(record, "assigned").get("join_url")
    if refused := _refusal(record, "again"):
        return refused
    at_once = _conferencing(record, "again, read")
    later = _conferencing(record, "again, later").get("join_url")
    said = "pending at first" if at_once.get("pending") else "never pending"
    return ("same link" if later == before else "another link"), f"{said}."


@asked(
    OWN_EVENT, "profile.unknown", "§3", "A 422, or an event that stays pending.", holds=("422", "202", "200")
)
def _unknown_profile(record: Record) -> tuple[str, str]:
    """What does a profile id give that nobody has?"""
    reply = record.reply("unknown profile")
    if not reply.accepted:
        return status(record, "unknown profile")
    found = object_in(record.find_own("unknown profile, read"))
    fields = names(object_in(found.get("conferencing"))) or "none"
    return str(reply.status), f"Then a read shows conferencing with the fields: {fields}."


@asked(OWN_EVENT, "profile.explicit", "§3", "Such events need no watching.", holds=("assigned",))
def _explicit(record: Record) -> tuple[str, str]:
    """Is an explicit link there without a pending phase?"""
    if refused := _refusal(record, "explicit"):
        return refused
    found = _conferencing(record, "explicit, read")
    word = "pending" if found.get("pending") else "other"
    if found.get("join_url") == EXPLICIT_LINK:
        word = "assigned"
    return word, f"Fields: {names(found) or 'none'}."


@asked(OWN_EVENT, "profile.none", "§3", "Unknown, so it is never sent.")
def _none(record: Record) -> tuple[str, str]:
    """Does the profile id none remove the conference?"""
    if refused := _refusal(record, "none"):
        return refused
    found = record.own("none, read").get("conferencing")
    fields = names(object_in(found)) or "none"
    return ("kept" if found else "removed"), f"Fields of conferencing: {fields}."


@asked(
    OWN_EVENT, "events.managed_window", "§2", "Yes; what a window does not show is looked for without one."
)
def _other_window(record: Record) -> tuple[str, str]:
    """Do from and to limit the application's own events too?"""
    _made(record)
    return ("shown" if record.find_own("other window") else "left out"), "A window a week after the event."


@asked(OWN_EVENT, "events.event_ids", "§2", "Unknown, so it is not sent.")
def _event_ids(record: Record) -> tuple[str, str]:
    """Does event_ids[] narrow a read?"""
    _made(record)
    if record.reply("event_ids").status != 200:
        return status(record, "event_ids")
    return ("ignored" if record.find_own("event_ids") else "narrows"), "Asked for another id."


@asked(
    OWN_EVENT,
    "events.deleted",
    "§2",
    "As deleted, as cancelled, or not at all.",
    holds=("deleted", "cancelled", "not shown"),
)
def _deleted(record: Record) -> tuple[str, str]:
    """How is a deleted event of the application shown with include_deleted?"""
    record.reply("gone")
    found = record.find_own("deleted")
    if found is None:
        return "not shown", "Not with include_deleted either."
    if found.get("deleted") is True:
        return "deleted", f"With deleted: true, status {text(found.get('status'))}."
    return ("cancelled" if found.get("status") == "cancelled" else "still there"), "deleted is not true."


def _refusal(record: Record, name: str) -> tuple[str, str] | None:
    reply = record.reply(name)
    return None if reply.accepted else ("refused", f"{reply.status}; {faults(reply)}")


def _conferencing(record: Record, name: str) -> Mapping[str, Any]:
    return object_in(record.own(name).get("conferencing"))


def _made(record: Record) -> None:
    reply = record.reply("create")
    if not reply.accepted:
        raise Unsettled(f"The event was not accepted ({reply.status}): {faults(reply)}")
