"""Alerts, dashboard and autoscaling query series that exist; every alert is in the runbook."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.documents import ROOT, firsts, table, text_of
from worker.trouble import WORDS, Kind

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]
RUNBOOK = text_of("docs/runbook.md")
#: The rules for one trouble each.
CAUSED = [rule for rule in RULES if "cause" in rule["labels"]]
#: Of the board.
PAGES = ("/", "/events", "/incidents", "/accounts", "/mails", "/dead-letters", "/workers")
DASHBOARD: dict[str, Any] = json.loads(text_of("deploy/grafana/dashboards/reconciler.json"))

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (of Prometheus) is not on this machine"
)


def _promtool(*args: str, cwd: Path = PROMETHEUS) -> str:
    done = subprocess.run(["promtool", *args], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _named(rule: dict[str, Any]) -> str:
    """Alerts of one name differ by their labels."""
    named = (rule["alert"], rule["labels"].get("cause"), rule["labels"]["severity"])
    return " ".join(filter(None, named))


def _queries() -> dict[str, str]:
    """Every query in these files, by location."""
    found = {f"alert {_named(rule)}": rule["expr"] for rule in RULES}
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            found[f"panel {panel['title']} {target['refId']}"] = target["expr"]
    scaled = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "autoscaling.yaml").read_text())
    for trigger in scaled["spec"]["triggers"]:
        found["autoscaling"] = trigger["metadata"]["query"]
    return found


QUERIES = _queries()


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_query_asks_for_metrics_that_exist(query: str) -> None:
    """Each `reconciler_…` in it is in the table of metrics, where a histogram has one row for its parts."""
    asked = set(re.findall(r"\breconciler_\w+", query))
    named = {name.partition("{")[0] for name in firsts(table("docs/serving.md", "metric"))}

    assert asked or "up{" in query
    assert {name for name in asked if not {name, re.sub("_(bucket|sum|count)$", "", name)} & named} == set()


#: Who has to act on these is not the operator: nobody is woken for them.
WAITING = {
    Kind.SERVICE_FAILING,
    Kind.PROFILES_LAPSED,
    Kind.TOKEN_OWED,
    Kind.ACCOUNTS_LOST,
    Kind.ADDRESS_REFUSED,
    Kind.CRONOFY_PAUSE,
    Kind.BUDGET_SPENT,
    Kind.OUTCOMES_OWED,
}


def _severities(alert: str) -> list[str]:
    return sorted({rule["labels"]["severity"] for rule in RULES if rule["alert"] == alert})


def test_every_alert_has_its_section_in_the_runbook() -> None:
    """The runbook has no section for an alert that is gone; each says how urgent it is."""
    found = re.findall(r"^## (\w+)\n\n\*(page|ticket|page or ticket)\.\*", RUNBOOK, re.MULTILINE)

    alerts = dict.fromkeys(rule["alert"] for rule in RULES)
    assert found == [(alert, " or ".join(_severities(alert))) for alert in alerts]


def test_every_trouble_has_its_alert() -> None:
    """Named by its cause; nobody is woken for what somebody else has to do."""
    causes = {rule["labels"]["cause"]: rule["labels"]["severity"] for rule in CAUSED}

    assert set(causes) == set(Kind)
    assert {causes[kind] for kind in WAITING} == {"ticket"}


@pytest.mark.parametrize(
    "rule", [pytest.param(rule, id=f"{rule['alert']} {rule['labels']['cause']}") for rule in CAUSED]
)
def test_an_alert_and_the_runbook_say_what_status_says(rule: dict[str, Any]) -> None:
    """In the same words."""
    sentence = WORDS[Kind(rule["labels"]["cause"])].sentence
    section = RUNBOOK.partition(f"## {rule['alert']}\n")[2].partition("\n## ")[0]

    assert rule["annotations"]["summary"] == sentence
    assert f"**{sentence}**" in " ".join(section.split())


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule["alert"]) for rule in RULES])
def test_an_alert_leads_to_its_section_of_the_runbook(rule: dict[str, Any]) -> None:
    """The address is a file of ours and the anchor of the heading that bears the alert's name."""
    file, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.+)$", text_of(file), re.MULTILINE)

    assert [heading for heading in headings if heading.lower() == anchor] == [rule["alert"]]
    assert rule["annotations"]["board_url"].partition("?")[0] in PAGES


def test_the_dashboard_names_no_datasource_of_ours() -> None:
    """It can be imported anywhere: the data source is a variable."""
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {"${datasource}"}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@needs_promtool
def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    """Its syntax, its rules, and the token file, which the deployment puts elsewhere."""
    shutil.copytree(PROMETHEUS, tmp_path / "prometheus")
    token, file = tmp_path / "metrics-token", tmp_path / "prometheus" / "prometheus.yml"
    token.write_text("token")
    file.write_text(file.read_text().replace("/run/secrets/metrics-token", str(token)))

    assert "SUCCESS" in _promtool("check", "config", "prometheus.yml", cwd=tmp_path / "prometheus")


@needs_promtool
def test_alerts_fire_only_when_they_should() -> None:
    """Each alert's unit tests cover both cases, and pass."""
    cases = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    names = {case["name"] for case in cases}

    assert names == {f"{_named(rule)} {what}" for rule in RULES for what in ("fires", "stays silent")}
    assert "SUCCESS" in _promtool("test", "rules", "alerts_test.yml")


@needs_promtool
def test_every_query_is_written_as_prometheus_reads_it(tmp_path: Path) -> None:
    """Checked as rule expressions."""
    rules = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(QUERIES.values())]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))

    assert f"{len(QUERIES)} rules found" in _promtool("check", "rules", "rules.yml", cwd=tmp_path)
