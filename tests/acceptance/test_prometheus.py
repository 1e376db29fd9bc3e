"""A real Prometheus beside a fleet: it scrapes what is served, and every query of ours finds its series."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.acceptance.harness import Fleet, zoom
from tests.contract.documents import ROOT
from tests.contract.test_monitoring_files import QUERIES
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="Prometheus is not on this machine"
)

TOKEN = "a-token-for-prometheus"
#: Has series only where a call failed.
ONLY_IN_TROUBLE = "Calls that failed"


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def prometheus(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Prometheus with our configuration and alerts, its interval shortened, scraping `serve` of the fleet."""
    home, port, own_port = tmp_path_factory.mktemp("prometheus"), free_port(), free_port()
    fleet.env["RECONCILER_BOARD_TOKEN"] = TOKEN
    served = fleet.start("serve", "--port", str(port))
    wait_until(lambda: _answers(f"http://127.0.0.1:{port}/readyz"), 30, 0.1, what="serve to be ready")
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={_configuration(home, port)}",
            f"--storage.tsdb.path={home / 'data'}",
            f"--web.listen-address=127.0.0.1:{own_port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{own_port}"
        wait_until(lambda: _answers(f"{url}/-/ready"), 30, 0.1, what="Prometheus to be ready")
        yield url
    finally:
        process.terminate()
        process.wait(20)
        fleet.children.remove(served)
        served.end()


def _configuration(home: Path, port: int) -> Path:
    """The file of the deployment, but for the address, the token's place and the interval."""
    source = ROOT / "deploy" / "prometheus"
    shutil.copy(source / "alerts.yml", home)
    (home / "token").write_text(TOKEN)
    content = yaml.safe_load((source / "prometheus.yml").read_text())
    content["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    [job] = content["scrape_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    job["authorization"]["credentials_file"] = str(home / "token")
    (home / "prometheus.yml").write_text(yaml.safe_dump(content))
    return home / "prometheus.yml"


def _ask(prometheus: str, query: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": query}, timeout=10).json()
    assert answer["status"] == "success", answer
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def test_prometheus_scrapes_what_is_served(fleet: Fleet, prometheus: str) -> None:
    """With the token of the board as its credentials."""
    wait_until(lambda: _ask(prometheus, 'up{job="reconciler"} == 1'), 20, 0.2, what="a scrape")


def test_every_query_of_dashboard_and_alerts_finds_its_series(fleet: Fleet, prometheus: str) -> None:
    """After some life in the fleet each metric that is asked for is there."""
    lucky, waiting = fleet.person(zoom("pro_zoom")), fleet.person(zoom("pro_zoom", connected=False))
    lucky.write_and_track("lucky", "pro_zoom")
    lucky.outcome("assigned", "lucky")
    waiting.write_and_track("waiting", "pro_zoom")
    waiting.outcome("relink_requested", None)
    names = {
        word.partition("{")[0].strip("()")
        for query in QUERIES.values()
        for word in query.replace("(", " ").replace(")", " ").replace("[", " ").split()
        if word.startswith("reconciler_")
    }
    assert len(names) > 15

    def missing() -> set[str]:
        return {name for name in names if not _ask(prometheus, name)}

    wait_until(lambda: not missing(), 30, 0.5, what="every series to be scraped")
    panels = json.loads((ROOT / "deploy/grafana/dashboards/reconciler.json").read_text())["panels"]
    silent = [
        panel["title"]
        for panel in panels
        for target in panel["targets"]
        if not _ask(prometheus, target["expr"]) and panel["title"] != ONLY_IN_TROUBLE
    ]
    assert silent == []
