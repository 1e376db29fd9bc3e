"""Send the letters to users yourself: the consumer of RECONCILER_USER_MAIL=task.

    MAIL_KEY=… celery -A send_letters worker -Q letters

The reconciler has RECONCILER_MAIL_TASK=mail.send_letter, RECONCILER_MAIL_QUEUE=letters, and the same key as
RECONCILER_MAIL_KEY. A letter comes sealed, since whoever has its link can connect an account. Needs Celery,
`redis` and `cryptography`.
"""

from __future__ import annotations

import json
import os
from typing import Any

from celery import Celery
from cryptography.fernet import Fernet
from redis import Redis

BROKER_URL = os.environ.get("BROKER_URL", "redis://localhost:6379/0")
#: How long to remember a letter's id: one may come twice, with the same id.
REMEMBER_SECONDS = 7 * 86_400

app = Celery("letters", broker=BROKER_URL, set_as_current=False)
app.conf.task_acks_late = True
opener = Fernet(os.environ["MAIL_KEY"])
seen = Redis.from_url(os.environ.get("SEEN_URL", BROKER_URL))


@app.task(name="mail.send_letter")
def send_letter(id: str, letter: str) -> None:
    """Send one letter, once."""
    if not seen.exists(f"letters:sent:{id}"):
        hand_over(json.loads(opener.decrypt(letter)))
        seen.set(f"letters:sent:{id}", 1, ex=REMEMBER_SECONDS)


def hand_over(letter: dict[str, Any]) -> None:
    """Replace this with your own mail: send the given text, or write your own from the parts."""
    meetings = letter["parts"]["meetings"]
    print(f"LETTER {letter['id']} {letter['kind']} {letter['to']} about {len(meetings)} events", flush=True)
