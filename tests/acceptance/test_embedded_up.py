"""`reconciler up` without a Redis of your own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from tests.acceptance.harness import Caller, cronofy_settings, running_sandbox
from tests.acceptance.processes import Child, environment, run_command, runs
from tests.waiting import wait_until

EVENT = {"event_id": "evt", "start": "2030-01-01T10:00:00Z", "conferencing": {"profile_id": "pro_zoom"}}


@contextmanager
def _up(home: Path, env: dict[str, str]) -> Iterator[tuple[str, int]]:
    """`reconciler up`, from its server's first answer to an orderly end; yields its URL and pid.

    It is started where somebody else's modules have the names of ours, and runs none of them.
    """
    for name in ("tasks", "worker", "config"):
        (home / f"{name}.py").write_text("raise SystemExit('This is not the reconciler.')")
    child = Child(home, env, home / "processes.log", "up")
    address = home / "data" / "embedded.url"
    try:
        wait_until(address.exists, 20, what="the embedded server")
        url = wait_until(address.read_text, 5, what="its address")
        with Redis.from_url(url) as redis:
            server = int(dict(redis.info("server"))["process_id"])
        assert runs(server)
        yield url, server
    finally:
        code = child.end()
    assert code == 0, (home / "processes.log").read_text()


def test_up_brings_its_own_server(tmp_path: Path) -> None:
    """Other commands find it while it runs; after SIGTERM it is gone, and they say what is missing.

    A second `up` in its directory is refused.
    """
    question = ("explain", "acc", "cal", "evt", "--offline", "--json")
    with running_sandbox() as sandbox:
        settings = {"DATA_DIR": str(tmp_path / "data"), "RECHECK_MIN": "300", **cronofy_settings(sandbox)}
    # Cronofy need not be reached: nothing is due.
    env = environment(**settings)

    with _up(tmp_path, env) as (url, server):
        caller = Caller(url)
        try:
            assert caller.call("track", sub="acc", calendar_id="cal", event=EVENT) is True
        finally:
            caller.close()
        assert json.loads(run_command(tmp_path, env, *question).stdout)["state"] == "pending"
        second = run_command(tmp_path, env, "up")
        assert (second.returncode, second.stdout) == (1, "")
        assert "data already has an embedded server (pid " in second.stderr
        assert runs(server)

    assert not runs(server)
    alone = run_command(tmp_path, env, *question)
    assert alone.returncode == 1
    assert "RECONCILER_REDIS_URL" in alone.stderr
    assert "Traceback" not in alone.stderr
