"""What Cronofy's documentation leaves open: one trait for each unknown, with every answer that fits.

A personality is a choice for each of them. Where behaviour depends on a trait, that place asks for it;
nothing else knows of it. A client that works with every value works with Cronofy, whichever it has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

#: The first two are `notification.interactions`, then `notification.interaction`, the interaction's own words
#: in `notification`, and `interactions` at the top or in `subscription`.
InteractionShape = Literal["array", "object", "singular", "type", "top", "subscription"]


def _trait(default: Any, question: str, source: str) -> Any:
    return Field(default, description=question, json_schema_extra={"source": source})


class Personality(BaseModel):
    """A choice for each trait; the default is what the sources make likelier.

    Each `source` is a section of docs/cronofy-api.md. An unknown name or value raises
    `pydantic.ValidationError`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    # -- writing
    omitted_fields: Literal["kept", "cleared"] = _trait(
        "kept", "optional fields that an update omits, except `url` and `conferencing`, which are kept", "§4"
    )
    integrated_unavailable: Literal["accepted", "refused"] = _trait(
        "accepted", "a write that asks for `integrated` in a calendar without it; refused is 422", "§3"
    )
    batch_status: Literal[207, 200] = _trait(207, "the status of a batch's answer", "§4")
    batch_urls: Literal["decoded", "raw"] = _trait(
        "decoded", "`%40` and the like in a batch's `relative_url`", "§4"
    )
    batch_cost: Literal["items", "call"] = _trait(
        "items", "whether a batch counts against the limits as its entries or as one call", "§8"
    )

    # -- reading
    location: Literal["as_written", "join_url"] = _trait(
        "as_written", "a location that was not written, once there is a conference", "§9"
    )
    series: Literal["shared_id", "own_ids"] = _trait(
        "shared_id", "the `event_id` of a series' occurrences: the written one, or one for each", "§4"
    )
    all_day: Literal["wrapped", "plain"] = _trait(
        "wrapped", "a date in a read with `localized_times`: `{time, tzid}`, or a string", "§2"
    )
    localized_times: Literal["local", "utc"] = _trait(
        "local", "a time in such a read, which is best effort: in the event's zone, or in UTC", "§2"
    )
    disconnected_calendars: Literal["shown", "hidden"] = _trait(
        "shown", "the events of a calendar whose profile is disconnected, in a read", "§5"
    )
    after_failure: Literal["pending", "absent"] = _trait(
        "pending", "the `conferencing` of an event whose failure is final: still pending, or absent", "§3"
    )
    service_account: Literal["nested", "flat"] = _trait(
        "nested", "UserInfo of a service account: as the C# SDK's tests have it, or as Ruby's", "§5"
    )

    # -- the rest
    rotate_refresh_tokens: Literal["no", "yes"] = _trait(
        "no", "whether a refresh returns another refresh token", "§7"
    )
    retry_after: Literal["none", "seconds", "date"] = _trait("none", "the `Retry-After` of a 429", "§8")
    interactions: InteractionShape = _trait(
        "array", "where an event's callback says what became of its conference", "§6a"
    )


@dataclass(frozen=True, slots=True)
class Trait:
    """One unknown: its values, the default first, what it is about, and where the sources are told."""

    name: str
    values: tuple[Any, ...]
    question: str
    source: str


def _listed(name: str) -> Trait:
    field = Personality.model_fields[name]
    extra: Any = field.json_schema_extra
    return Trait(name, get_args(field.annotation), str(field.description), extra["source"])


#: Every trait, by its name.
TRAITS: dict[str, Trait] = {name: _listed(name) for name in Personality.model_fields}


def personality_of(choices: Iterable[str]) -> Personality:
    """Read `name=value` words; raises ValueError, which says what is wrong and what there is."""
    chosen: dict[str, Any] = {}
    for choice in choices:
        name, equals, value = choice.partition("=")
        if not equals:
            raise ValueError(f"{choice!r} is not of the form NAME=VALUE.")
        if name not in TRAITS:
            raise ValueError(f"there is no trait {name!r}, only {', '.join(TRAITS)}.")
        values = {str(known): known for known in TRAITS[name].values}
        if value not in values:
            raise ValueError(f"{name} is {' or '.join(values)}, not {value!r}.")
        chosen[name] = values[value]
    return Personality(**chosen)


def described_traits() -> str:
    """Return every trait in words: its values, the default first, what it is about and its source."""
    return "\n".join(
        f"{name}={'|'.join(str(value) for value in trait.values)}\n    {trait.question} ({trait.source})"
        for name, trait in TRAITS.items()
    )
