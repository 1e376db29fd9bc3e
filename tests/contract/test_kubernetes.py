"""The manifests for Kubernetes run commands and use settings that exist, and give tasks time to end."""

from __future__ import annotations

import re
from typing import Any

import click
import pytest
import yaml
from celery.bin.beat import beat as celery_beat
from celery.bin.worker import worker as celery_worker

from config.celery import QUEUES
from config.settings import PREFIX, Settings, load_settings
from tests.contract.commands import COMMANDS
from tests.contract.documents import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
FILES = {
    path.name: list(yaml.safe_load_all(path.read_text(encoding="utf-8"))) for path in FOLDER.glob("*.yaml")
}
OBJECTS: list[dict[str, Any]] = [item for items in FILES.values() for item in items]
DEPLOYMENTS = {item["metadata"]["name"]: item for item in OBJECTS if item["kind"] == "Deployment"}
EACH = [pytest.param(item, id=name) for name, item in DEPLOYMENTS.items()]
#: Roles whose further arguments are Celery's.
CELERY = {"worker": celery_worker, "beat": celery_beat}


def _container(deployment: dict[str, Any]) -> dict[str, Any]:
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


def _celery_options(deployment: dict[str, Any]) -> dict[str, Any]:
    """Parse a container's command line: ours by us, what goes on to Celery by Celery."""
    name, *rest = _container(deployment)["args"]
    passed_on = COMMANDS[name].make_context(name, rest).args
    if name not in CELERY:
        assert passed_on == []
        return {}
    options, left_over, _ = CELERY[name].make_parser(click.Context(CELERY[name])).parse_args(passed_on)
    assert left_over == []
    return dict(options)


@pytest.mark.parametrize("deployment", EACH)
def test_a_container_runs_a_command_that_exists(deployment: dict[str, Any]) -> None:
    """Its arguments are accepted."""
    _celery_options(deployment)


def test_every_queue_is_consumed_and_none_is_made_up() -> None:
    """The deployments together consume the program's queues, each of them once."""
    named = [_celery_options(item).get("queues") for item in DEPLOYMENTS.values()]
    consumed = [queue for queues in named if queues for queue in queues.split(",")]

    assert sorted(consumed) == sorted(QUEUES)


def test_there_is_each_role() -> None:
    """Workers, beat, and what is served."""
    assert {_container(item)["args"][0] for item in DEPLOYMENTS.values()} == {"worker", "beat", "serve"}


@pytest.mark.parametrize("deployment", EACH)
def test_a_container_is_probed_for_its_own_role(deployment: dict[str, Any]) -> None:
    """Workers and beat by `healthcheck`, and what is served by its own addresses."""
    container = _container(deployment)
    role, live = container["args"][0], container["livenessProbe"]

    if role == "serve":
        [port] = container["ports"]
        assert live["httpGet"] == {"path": "/healthz", "port": port["name"]}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port["name"]}
        options = COMMANDS[role].make_context(role, container["args"][1:]).params
        assert (options["port"], options["host"]) == (port["containerPort"], "0.0.0.0")
        return
    command = live["exec"]["command"]
    assert command[0] == "reconciler"
    COMMANDS[command[1]].make_context(command[1], command[2:])
    assert command[1:] == ["healthcheck", role]
    assert container["startupProbe"]["exec"] == live["exec"]


@pytest.mark.parametrize("deployment", EACH)
def test_a_worker_has_time_to_finish_its_tasks(deployment: dict[str, Any]) -> None:
    """It is killed only after the longest task would have ended by itself."""
    if _container(deployment)["args"][0] == "worker":
        limit = Settings.model_fields["task_time_limit"].default.total_seconds()
        assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > limit


@pytest.mark.parametrize("deployment", EACH)
def test_a_container_may_do_little(deployment: dict[str, Any]) -> None:
    """No root, no privileges, no writable root; and it writes only where a volume is."""
    container, pod = _container(deployment), deployment["spec"]["template"]["spec"]

    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    user = pod["securityContext"]["runAsUser"]
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"USER {user}:{user}" in dockerfile
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted == {"/tmp", re.findall(r"^WORKDIR (\S+)", dockerfile, re.MULTILINE)[-1]}
    assert {v["name"] for v in pod["volumes"]} == {mount["name"] for mount in container["volumeMounts"]}


@pytest.mark.parametrize("deployment", EACH)
def test_labels_select_what_they_should(deployment: dict[str, Any]) -> None:
    """The deployment's selector is its own pods' labels."""
    labels = deployment["spec"]["template"]["metadata"]["labels"]

    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert labels == {"app": "reconciler", "role": deployment["metadata"]["name"]}


def test_services_and_budgets_select_pods_that_there_are() -> None:
    """No selector is left over from a deployment that is gone."""
    selectors = [i["spec"]["selector"] for i in OBJECTS if i["kind"] == "Service"]
    selectors += [i["spec"]["selector"]["matchLabels"] for i in OBJECTS if i["kind"] == "PodDisruptionBudget"]
    labels = [item["spec"]["selector"]["matchLabels"] for item in DEPLOYMENTS.values()]

    assert selectors
    assert all(selector in labels for selector in selectors)


def test_the_settings_exist_and_none_of_them_is_a_secret() -> None:
    """The ConfigMap is valid; secrets come from the Secret alone, and the file's head names them rightly."""
    [settings] = [item["data"] for item in OBJECTS if item["kind"] == "ConfigMap"]
    head = (FOLDER / "kustomization.yaml").read_text(encoding="utf-8")

    load_settings(**{name.removeprefix(PREFIX).lower(): value for name, value in settings.items()})
    assert not [name for name in settings if re.search("SECRET|KEYS|PASSWORD|TOKEN|_URL", name)]
    named = {name.removeprefix(PREFIX).lower() for name in re.findall(rf"{PREFIX}\w+", head)}
    assert named
    assert named <= set(Settings.model_fields)


def test_all_files_are_taken_in_but_the_optional_one() -> None:
    """kustomization.yaml lists the others; autoscaling needs what not every cluster has."""
    [listed] = [item["resources"] for item in FILES["kustomization.yaml"]]

    assert {*listed, "kustomization.yaml", "autoscaling.yaml"} == set(FILES)


def test_autoscaling_scales_what_there_is() -> None:
    """Its target is a deployment of workers, and it never goes below what that starts with."""
    [scaled] = FILES["autoscaling.yaml"]
    target = DEPLOYMENTS[scaled["spec"]["scaleTargetRef"]["name"]]

    assert scaled["spec"]["minReplicaCount"] == target["spec"]["replicas"]
    assert scaled["spec"]["minReplicaCount"] < scaled["spec"]["maxReplicaCount"]
