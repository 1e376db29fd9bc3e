"""Every remedy in turn, each as an account whose next look carries it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tests.faults.stage import RECONCILE, SWEEP, Message, Stage
from tests.integration.world import World


@dataclass(frozen=True, slots=True)
class Case:
    """How an account comes to need a remedy, and which task looks at it."""

    prepare: Callable[[Stage, World], None]
    profiles: int = 2
    settings: Mapping[str, Any] = field(default_factory=dict)
    asked: bool = False

    def begin(self, stage: Stage) -> World:
        """An account in an empty world that needs the remedy."""
        world = stage.begin(self.profiles)
        self.prepare(stage, world)
        stage.let_time_pass(world.sub)
        return world

    def first(self, world: World) -> Message:
        """The first message: beat's, or a caller's question."""
        return (RECONCILE, {"sub": world.sub}) if self.asked else SWEEP


def _wait(_: Stage, world: World) -> None:
    world.track()


def _assigned(_: Stage, world: World) -> None:
    world.control.set_settings(generation_seconds=0)
    world.track("e1")
    world.track("e2")


def _removed(*event_ids: str) -> Callable[[Stage, World], None]:
    def prepare(_: Stage, world: World) -> None:
        for event_id in event_ids:
            world.track(event_id)
        world.control.remove_profile(world.sub, world.profiles[0])

    return prepare


def _disconnected(_: Stage, world: World) -> None:
    world.track("e1")
    world.track("e2")
    world.control.disconnect_profile(world.sub, world.profiles[0])


def _reminded(stage: Stage, world: World) -> None:
    _disconnected(stage, world)
    stage.let_time_pass(world.sub)
    stage.work(SWEEP)
    stage.let_episodes_age(world.sub, timedelta(days=1))


def _relinked(stage: Stage, world: World) -> None:
    _disconnected(stage, world)
    stage.let_time_pass(world.sub)
    stage.work(SWEEP)
    world.control.reconnect_profile(world.sub, world.profiles[0])


def _past(_: Stage, world: World) -> None:
    world.track(hours=-1)


def _gone(_: Stage, world: World) -> None:
    world.track("e1")
    world.track("e2")
    world.control.delete_event(world.calendar_id, "e1")


def _lost(_: Stage, world: World) -> None:
    world.track("e1")
    world.track("e2")
    world.control.revoke_refresh_token(world.sub)
    world.control.expire_access_token(world.sub)


def _refreshed(_: Stage, world: World) -> None:
    _removed("e1")(_, world)
    world.control.expire_access_token(world.sub)


CASES: dict[str, Case] = {
    "wait": Case(_wait),
    "assigned": Case(_assigned),
    "reassign": Case(_removed("e1")),
    "reassign by batch": Case(_removed("e1", "e2", "e3")),
    "reassign when asked": Case(_removed("e1", "e2"), asked=True),
    "relink email": Case(_disconnected),
    "relink reminder": Case(_reminded, settings={"relink_reminders": "P1D"}),
    "relinked": Case(_relinked),
    "escalate": Case(_removed("e1", "e2"), profiles=1),
    "close what is past": Case(_past),
    "close what is gone": Case(_gone),
    "account lost": Case(_lost),
    "token refreshed on the way": Case(_refreshed),
}
