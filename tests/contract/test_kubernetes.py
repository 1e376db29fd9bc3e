"""The Kubernetes manifests use commands and settings that exist, and give tasks time to finish."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from config.celery import Queues
from config.settings import PREFIX, Settings, load_settings
from tests.contract.commands import COMMANDS
from tests.contract.documents import ROOT
from tests.contract.test_deployment_files import celery_options

FOLDER = ROOT / "deploy" / "kubernetes"
FILES = {
    path.name: list(yaml.safe_load_all(path.read_text(encoding="utf-8"))) for path in FOLDER.glob("*.yaml")
}
OBJECTS: list[dict[str, Any]] = [item for items in FILES.values() for item in items]
DEPLOYMENTS = {item["metadata"]["name"]: item for item in OBJECTS if item["kind"] == "Deployment"}
EACH = [pytest.param(item, id=name) for name, item in DEPLOYMENTS.items()]


def _container(deployment: dict[str, Any]) -> dict[str, Any]:
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


def test_the_containers_together_do_all_the_work() -> None:
    """Each command exists; workers, beat and serve are included, and every queue is consumed once."""
    commands = [_container(item)["args"] for item in DEPLOYMENTS.values()]
    named = [celery_options(words).get("queues") for words in commands]

    assert {words[0] for words in commands} == {"worker", "beat", "serve"}
    assert sorted(queue for queues in named if queues for queue in queues.split(",")) == sorted(
        Queues.of("reconciler")
    )


@pytest.mark.parametrize("deployment", EACH)
def test_a_container_is_probed_for_its_own_role(deployment: dict[str, Any]) -> None:
    """Workers and beat by `healthcheck`, serve by its own endpoints."""
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
def test_a_container_has_minimal_rights(deployment: dict[str, Any]) -> None:
    """No root, no privileges, writes only to volumes; a worker has time to finish its tasks."""
    container, pod = _container(deployment), deployment["spec"]["template"]["spec"]

    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    if container["args"][0] == "worker":
        limit = Settings.model_fields["task_time_limit"].default.total_seconds()
        assert pod["terminationGracePeriodSeconds"] > limit
    user = pod["securityContext"]["runAsUser"]
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"USER {user}:{user}" in dockerfile
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted == {"/tmp", re.findall(r"^WORKDIR (\S+)", dockerfile, re.MULTILINE)[-1]}
    assert {v["name"] for v in pod["volumes"]} == {mount["name"] for mount in container["volumeMounts"]}


def test_every_selector_matches_existing_pods() -> None:
    """A deployment selects its own pods; a service or budget those of a deployment."""
    labels = [item["spec"]["template"]["metadata"]["labels"] for item in DEPLOYMENTS.values()]
    selectors = [i["spec"]["selector"] for i in OBJECTS if i["kind"] == "Service"]
    selectors += [i["spec"]["selector"]["matchLabels"] for i in OBJECTS if i["kind"] == "PodDisruptionBudget"]

    assert labels == [{"app": "reconciler", "role": name} for name in DEPLOYMENTS]
    assert [item["spec"]["selector"]["matchLabels"] for item in DEPLOYMENTS.values()] == labels
    assert selectors
    assert all(selector in labels for selector in selectors)


def test_the_settings_exist_and_none_of_them_is_a_secret() -> None:
    """The ConfigMap is valid; secrets come only from the Secret, and the file's header lists them."""
    [settings] = [item["data"] for item in OBJECTS if item["kind"] == "ConfigMap"]
    head = (FOLDER / "kustomization.yaml").read_text(encoding="utf-8")

    load_settings(**{name.removeprefix(PREFIX).lower(): value for name, value in settings.items()})
    assert not [name for name in settings if re.search("SECRET|KEYS|PASSWORD|TOKEN|_URL", name)]
    named = {name.removeprefix(PREFIX).lower() for name in re.findall(rf"{PREFIX}\w+", head)}
    assert named
    assert named <= set(Settings.model_fields)


def test_all_files_but_the_optional_one_are_included() -> None:
    """kustomization.yaml lists the others; autoscaling never goes below the initial replicas."""
    [listed] = [item["resources"] for item in FILES["kustomization.yaml"]]
    [scaled] = FILES["autoscaling.yaml"]
    target = DEPLOYMENTS[scaled["spec"]["scaleTargetRef"]["name"]]

    assert {*listed, "kustomization.yaml", "autoscaling.yaml"} == set(FILES)
    assert scaled["spec"]["minReplicaCount"] == target["spec"]["replicas"]
    assert scaled["spec"]["minReplicaCount"] < scaled["spec"]["maxReplicaCount"]
