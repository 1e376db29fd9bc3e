"""What `reconciler dead-letters` does: shows letters with secrets masked, and replays them."""

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
from worker.ledger.ledger import Ledger
from worker.ledger.lookup import is_known

#: Sends a task: its name, positional and keyword arguments. Raises if the broker does not take it.
Send = Callable[[str, Sequence[Any], dict[str, Any]], None]

#: What a person does with a letter, as it is noted.
REPLAYED, DROPPED = "replayed", "dropped"
#: How many of the newest letters a misspelt id is compared with.
COMPARED = 1000
#: What is shown of payloads with tokens: all else is masked, since a misspelt name may hold a token.
_PLAIN = {"conferencing.connect_account": {*ConnectAccount.model_fields} - {"refresh_token", "access_token"}}


class UnknownLetter(LookupError):
    """There is no letter with this id; the message names the nearest."""


class BadCorrection(ValueError):
    """A correction does not fit the payload; the message says where."""


@dataclass(frozen=True, slots=True)
class Correction:
    """One argument to replace or remove before a letter is replayed."""

    #: Names from the outside in, such as ("event", "event_id").
    path: tuple[str, ...]
    value: Any = None
    remove: bool = False


def as_json(kept: KeptLetter, redaction: Redaction) -> dict[str, Any]:
    """A letter as contract JSON (§5); `kwargs` is None if no vault key opens it."""
    return {
        "id": kept.letter_id,
        "task": kept.letter.task,
        "reason": redaction.mask(kept.sealed or kept.letter.reason),
        "at": kept.at.isoformat(timespec="milliseconds"),
        "kwargs": None if kept.sealed else masked_kwargs(kept, redaction),
    }


def masked_kwargs(kept: KeptLetter, redaction: Redaction) -> dict[str, Any]:
    """The payload with secrets masked, and what may be one: positional arguments, odd names."""
    plain = _PLAIN.get(kept.letter.task)
    shown: dict[str, Any] = redaction.masked(dict(kept.letter.kwargs))
    for name, value in shown.items():
        if name == POSITIONAL and isinstance(value, list):
            shown[name] = [MASK for _ in value]
        elif plain is not None and name not in plain:
            shown[name] = MASK
    return shown


def chosen(letters: DeadLetters, letter_ids: Iterable[str], *, every: bool) -> Iterator[KeptLetter]:
    """The letters with these ids, or all; raises UnknownLetter up front if one does not exist."""
    if every:
        # Only as many as there are now: a replayed letter may come back.
        return islice(iter(letters), len(letters))
    return iter([_find(letters, letter_id) for letter_id in dict.fromkeys(letter_ids)])


def _find(letters: DeadLetters, letter_id: str) -> KeptLetter:
    found = letters.find(letter_id)
    if found is not None:
        return found
    ids = [kept.letter_id for kept in letters.newest(COMPARED)]
    near = difflib.get_close_matches(letter_id, ids, n=1, cutoff=0.0)
    nearest = f"the nearest is {near[0]}" if near else "there are no dead letters"
    raise UnknownLetter(f"There is no dead letter {letter_id}; {nearest}.")


def replay(
    letters: DeadLetters, kept: KeptLetter, corrections: Iterable[Correction], send: Send, by: str
) -> None:
    """Send a letter's task again, and remove the letter once the broker has the message; `by` whom is noted.

    If anything goes wrong before that, the letter stays: sending a task twice does no harm (contract §1).
    """
    kwargs = corrected(kept, corrections)
    args = kwargs.pop(POSITIONAL, ())
    send(kept.letter.task, args, kwargs)
    letters.settle(kept, REPLAYED, by)


def forgotten_account(ledger: Ledger, kept: KeptLetter, corrections: Iterable[Correction]) -> str | None:
    """The account that replaying this letter would bring back after it was forgotten, if any."""
    sub = corrected(kept, corrections).get("sub")
    if not isinstance(sub, str) or not ledger.forgotten.has(sub):
        return None
    return None if is_known(ledger, sub) else sub


def corrected(kept: KeptLetter, corrections: Iterable[Correction]) -> dict[str, Any]:
    """The corrected payload; raises BadCorrection if a correction does not fit."""
    kwargs: dict[str, Any] = deepcopy(dict(kept.letter.kwargs))
    for correction in corrections:
        place: Any = kwargs
        for name in correction.path[:-1]:
            place = place.setdefault(name, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise BadCorrection(f"{'.'.join(correction.path)} leads into something that is not an object")
        if correction.remove:
            place.pop(correction.path[-1], None)
        else:
            place[correction.path[-1]] = correction.value
    return kwargs
