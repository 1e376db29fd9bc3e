"""Urgent requests: one event or one account, ahead of the sweep (contract §1)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from celery import Task

from tasks.internal import wake_outgoing
from tasks.payload import public
from worker.bootstrap import Services
from worker.intake.acknowledge import acknowledge_incident
from worker.intake.payloads import AccountOnly, ChooseProfile, DecideIncident, OneEvent
from worker.run import choices, deciding, looks

#: How long one task works on a decision, well within the time limit.
WITHIN = timedelta(seconds=20)


@public("conferencing.reconcile_event", OneEvent, brings_news=False)
def reconcile_event(_: Task[..., Any], services: Services, event: OneEvent) -> dict[str, Any] | None:
    """Re-read, diagnose and act on one event."""
    answer = looks.reconcile_event(services, event.sub, event.key)
    wake_outgoing()
    return answer


@public("conferencing.reconcile_account", AccountOnly, brings_news=False)
def reconcile_account(_: Task[..., Any], services: Services, account: AccountOnly) -> list[dict[str, Any]]:
    """The same for all pending events of an account."""
    answers = looks.reconcile_account(services, account.sub)
    wake_outgoing()
    return answers


@public("conferencing.explain", OneEvent, brings_news=False)
def explain(_: Task[..., Any], services: Services, event: OneEvent) -> dict[str, Any] | None:
    """Diagnose one event and change nothing."""
    found = looks.explain(services, event.sub, event.key)
    return found.answer if found else None


@public("conferencing.choose_profile", ChooseProfile)
def choose_profile(_: Task[..., Any], services: Services, choice: ChooseProfile) -> dict[str, Any]:
    """Keep a person's choice of what takes the place of a removed profile, and carry it out."""
    by = choice.by or choices.SOMEONE
    wanted = choices.WantedChoice(choice.sub, choice.profile_id, choice.to_profile_id, choice.event, by)
    answer = choices.choose_profile(services, wanted)
    wake_outgoing()
    return answer


@public("conferencing.decide_incident", DecideIncident)
def decide_incident(self: Task[..., Any], services: Services, decision: DecideIncident) -> dict[str, Any]:
    """Carry out what a person decided about an incident; what the time does not allow, another one does."""
    answer, unfinished = decide(services, decision)
    if unfinished:
        self.apply_async(kwargs=decision.model_dump(mode="json", exclude_unset=True))
    wake_outgoing()
    return answer


def decide(services: Services, decision: DecideIncident) -> tuple[dict[str, Any], bool]:
    """The task's result, and whether the time was over before all of it was done."""
    ledger = services.ledger
    incident = ledger.incidents.find(decision.incident)
    answer = {"chosen": 0, "acknowledged": 0, "left": 0, "reason": None}
    if incident is None or incident.closed_at is not None:
        return {**answer, "reason": deciding.NOT_OPEN.format(decision.incident)}, False
    if decision.acknowledge:
        done, unfinished = acknowledge_incident(
            ledger, decision.incident, decision.note, decision.until, decision.by, WITHIN
        )
        return {**answer, "acknowledged": done}, unfinished
    named = {(each.sub, each.profile_id): each.to_profile_id for each in decision.choices}
    plan = deciding.plan_for(ledger, incident, decision.others, named)
    carried = deciding.carry_out(services, incident, plan, decision.by, WITHIN)
    reason = carried.failed[0][1] if carried.failed else None
    return {**answer, "chosen": carried.done, "left": len(plan.left), "reason": reason}, carried.unfinished
