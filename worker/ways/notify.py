"""Tells operators of incidents where they are: Slack, Teams, PagerDuty and what else Apprise speaks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from config.settings import SettingsError
from worker.ledger.outcomes import OutcomeType
from worker.ledger.packing import fingerprint
from worker.ledger.records import FLEET
from worker.mail.advice import WAITING, advice_on, headline
from worker.ways.signed_post import NotTaken
from worker.wording import amount

#: What operators are told of.
TOLD = frozenset({OutcomeType.INCIDENT_OPENED.value, OutcomeType.INCIDENT_CLOSED.value})


@dataclass(frozen=True, slots=True)
class IncidentMessage:
    """What operators are told about an incident; nothing that anybody wrote, and no link that decides."""

    #: The same when it opens and when it is over: some services know by it which of their alerts to close.
    title: str
    body: str
    is_over: bool


def message_of(outcome: Mapping[str, Any], board_url: str | None) -> IncidentMessage:
    """The message for an outcome of `TOLD` (contract JSON)."""
    detail = outcome["detail"]
    incident, kind, events = detail["incident"], detail["reason"], detail["events"]
    title = f"Conferencing: {headline(kind, detail['provider_name'])} (incident {incident})"
    if outcome["type"] == OutcomeType.INCIDENT_CLOSED.value:
        over = f"nobody has to help any more with {amount(events, 'meeting')}"
        lines = [f"Over: {'looks are made again' if kind in FLEET else over}."]
        if detail["acknowledged"]:
            lines.append(f"{detail['acknowledged']:,} of them somebody acknowledged.")
        return IncidentMessage(title, "\n".join(lines), is_over=True)
    of = f" of {amount(detail['accounts'], 'account')}" if detail["accounts"] else ""
    if kind in FLEET:
        lines = ["No meeting is looked at for now.", advice_on(kind), "reconciler status"]
    else:
        does, do = ("waits", "wait") if kind in WAITING else ("needs a person", "need a person")
        lines = [f"{amount(events, 'meeting')}{of} {does if events == 1 else do}.", advice_on(kind)]
        lines.append(f"reconciler list --incident {incident}")
    if board_url:
        lines.append(f"{board_url.rstrip('/')}/incidents/{quote(incident, safe='')}")
    return IncidentMessage(title, "\n".join(line for line in lines if line), is_over=False)


class Notifier:
    """One address of `RECONCILER_ESCALATION_URLS`; one per process, made after the fork."""

    def __init__(self, number: int, url: str, storage: Path) -> None:
        """`number`: its place among them. `storage`: where services keep what they need to close an alert.

        SettingsError if Apprise is not installed, or does not understand it; neither repeats it.
        """
        try:
            import apprise  # noqa: PLC0415 - an extra, and takes a while
        except ModuleNotFoundError:
            raise SettingsError(
                "RECONCILER_ESCALATION_URLS needs Apprise: install conferencing-reconciler[notify]."
            ) from None
        asset = apprise.AppriseAsset(
            app_id="conferencing-reconciler",
            app_desc="conferencing-reconciler",
            storage_path=str(storage),
            storage_mode=apprise.PersistentStoreMode.FLUSH,
        )
        self._apprise = apprise.Apprise(asset=asset)
        # Otherwise PagerDuty would not resolve what it is told is over.
        if re.match("pagerduty://", url, re.IGNORECASE) and "action=" not in url:
            url += ("&" if "?" in url else "?") + "action=map"
        if not self._apprise.add(url):
            raise SettingsError(f"RECONCILER_ESCALATION_URLS: Apprise does not understand address {number}.")
        self._types = {True: apprise.NotifyType.SUCCESS, False: apprise.NotifyType.FAILURE}
        #: What it is called in logs: which service, but not whose.
        self.service = f"{number} ({', '.join(str(each.service_name) for each in self._apprise)})"
        #: What its outcomes are kept under.
        self.key = fingerprint(url.encode())[:12]

    def send(self, message: IncidentMessage) -> None:
        """Tell it; NotTaken if that failed."""
        try:
            done = self._apprise.notify(
                body=message.body, title=message.title, notify_type=self._types[message.is_over]
            )
        except Exception as error:
            # Of a plugin of Apprise's; what it says may quote the address.
            raise NotTaken(f"the notification failed ({type(error).__name__})") from None
        if not done:
            raise NotTaken("the service did not take the notification")
