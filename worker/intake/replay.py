"""What `reconciler dead-letters` does: shows letters with secrets masked, sends them again, drops them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import Any

from config.logging import MASK, Redaction
from worker.intake.payloads import ConnectAccount
from worker.ledger.dead_letters import POSITIONAL, DeadLetters, KeptLetter

#: Sends a task: its name, positional and keyword arguments. Raises where the broker does not take it.
Send = Callable[[str, Sequence[Any], dict[str, Any]], None]

#: A misspelt id is compared with so many of the newest letters.
COMPARED = 1000
#: Of a payload that was to bring tokens all else is masked: a token may stand under a misspelt name.
_PLAIN = {"conferencing.connect_account": {*ConnectAccount.model_fields} - {"refresh_token", "access_token"}}


class UnknownLetter(LookupError):
    """There is no such letter; the message names the nearest."""


class BadCorrection(ValueError):
    """A correction does not fit the payload; the message says where."""


@dataclass(frozen=True, slots=True)
class Correction:
    """One argument to be replaced before a letter is sent again, or left out."""

    #: Names from the outside in, such as ("event", "event_id").
    path: tuple[str, ...]
    value: Any = None
    remove: bool = False


def as_json(kept: KeptLetter, redaction: Redaction) -> dict[str, Any]:
    """A letter as the contract (§5) writes it; without `kwargs` where no vault key opens it."""
    return {
        "id": kept.letter_id,
        "task": kept.letter.task,
        "reason": redaction.mask(kept.sealed or kept.letter.reason),
        "at": kept.at.isoformat(timespec="milliseconds"),
        "kwargs": None if kept.sealed else masked_kwargs(kept, redaction),
    }


def masked_kwargs(kept: KeptLetter, redaction: Redaction) -> dict[str, Any]:
    """The payload without its secrets, among them what may be one: positional arguments, odd names."""
    plain = _PLAIN.get(kept.letter.task)
    shown: dict[str, Any] = redaction.masked(dict(kept.letter.kwargs))
    for name, value in shown.items():
        if name == POSITIONAL and isinstance(value, list):
            shown[name] = [MASK for _ in value]
        elif plain is not None and name not in plain:
            shown[name] = MASK
    return shown


def chosen(letters: DeadLetters, letter_ids: Iterable[str], *, every: bool) -> Iterator[KeptLetter]:
    """The letters with these ids, or all; UnknownLetter, before any is given, where one does not exist."""
    if every:
        # Not those that come while these are worked through: a replayed one may come back.
        return islice(iter(letters), len(letters))
    return iter([_find(letters, letter_id) for letter_id in dict.fromkeys(letter_ids)])


def _find(letters: DeadLetters, letter_id: str) -> KeptLetter:
    found = letters.find(letter_id)
    if found is not None:
        return found
    ids = [kept.letter_id for kept in letters.newest(COMPARED)]
    near = difflib.get_close_matches(letter_id, ids, n=1, cutoff=0.0)
    nearest = f"the nearest is {near[0]}" if near else "there are none at all"
    raise UnknownLetter(f"There is no dead letter {letter_id}; {nearest}.")


def replay(letters: DeadLetters, kept: KeptLetter, corrections: Iterable[Correction], send: Send) -> None:
    """Send a letter's task again, and take the letter out once the broker has it.

    Whatever goes wrong before, the letter stays; sent twice, a task does no harm (contract §1).
    """
    kwargs = corrected(kept, corrections)
    args = kwargs.pop(POSITIONAL, ())
    send(kept.letter.task, args, kwargs)
    letters.remove(kept.letter_id)


def corrected(kept: KeptLetter, corrections: Iterable[Correction]) -> dict[str, Any]:
    """The payload with the corrections made; BadCorrection where one leads nowhere."""
    kwargs: dict[str, Any] = deepcopy(dict(kept.letter.kwargs))
    for correction in corrections:
        place: Any = kwargs
        for name in correction.path[:-1]:
            place = place.setdefault(name, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise BadCorrection(f"{'.'.join(correction.path)} leads into something that is no object")
        if correction.remove:
            place.pop(correction.path[-1], None)
        else:
            place[correction.path[-1]] = correction.value
    return kwargs
