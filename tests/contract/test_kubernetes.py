"""The Kubernetes manifests use commands and settings that exist, and give tasks time to finish."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from typing import Any

import pytest
import yaml

from config.queues import Queues
from config.settings import PREFIX, Settings, load_settings
from tests.contract.commands import COMMANDS
from tests.contract.documents import ROOT
from tests.contract.test_deployment_files import celery_options, secrets_of
from worker.host.capacity import EACH_BYTES, FIRST_BYTES

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
    mounted = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert mounted == {"/tmp", re.findall(r"^WORKDIR (\S+)", dockerfile, re.MULTILINE)[-1]}
    assert {v["name"] for v in pod["volumes"]} == {mount["name"] for mount in container["volumeMounts"]}


@pytest.mark.parametrize("deployment", EACH)
def test_a_container_has_the_secrets_of_its_role_as_files(deployment: dict[str, Any]) -> None:
    """Those of docs/deployment.md, named as their settings, where the settings say; none is a variable."""
    container, pod = _container(deployment), deployment["spec"]["template"]["spec"]
    [settings] = [item["data"] for item in OBJECTS if item["kind"] == "ConfigMap"]
    [secret] = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
    [mount] = [mount for mount in container["volumeMounts"] if mount["name"] == "secrets"]
    role = secrets_of(container["args"])
    client = {"RECONCILER_CRONOFY_CLIENT_ID"} if "RECONCILER_CRONOFY_CLIENT_SECRET" in role else set()

    assert {item["path"] for item in secret["items"]} == role | client
    assert all(item["path"] == item["key"] for item in secret["items"])
    assert mount["mountPath"] == settings["RECONCILER_SECRETS_DIR"]
    assert [list(source) for source in container["envFrom"]] == [["configMapRef"]]


@pytest.mark.parametrize("name", [name for name, item in DEPLOYMENTS.items() if item["spec"]["replicas"] > 1])
def test_replicas_are_spread(name: str) -> None:
    """Over nodes and zones, where there are any: a cluster of one node runs them, too."""
    deployment = DEPLOYMENTS[name]
    spread = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]

    assert [each["topologyKey"] for each in spread] == [
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    ]
    assert all((each["maxSkew"], each["whenUnsatisfiable"]) == (1, "ScheduleAnyway") for each in spread)
    assert all(each["labelSelector"] == deployment["spec"]["selector"] for each in spread)


@pytest.mark.parametrize("name", ["worker", "mail-worker"])
def test_a_worker_says_how_many_processes_it_has_and_has_memory_for_them(name: str) -> None:
    """As many as fit its limit with room, by the figures that the default goes by."""
    container = _container(DEPLOYMENTS[name])
    resources = container["resources"]
    processes = int(celery_options(container["args"])["concurrency"])

    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    assert resources["limits"]["memory"].endswith("Mi")
    limit = int(resources["limits"]["memory"].removesuffix("Mi")) << 20
    assert FIRST_BYTES + processes * EACH_BYTES <= limit


def test_each_role_reaches_what_it_needs_and_nothing_else() -> None:
    """Names and Redis are for all, https for workers, the mail server for whoever sends mail."""
    ways: dict[str, set[int]] = {name: set() for name in DEPLOYMENTS}
    for policy in (item["spec"] for item in OBJECTS if item["kind"] == "NetworkPolicy"):
        for name, deployment in DEPLOYMENTS.items():
            labels = deployment["spec"]["template"]["metadata"]["labels"]
            if (
                "Egress" in policy["policyTypes"]
                and policy["podSelector"]["matchLabels"].items() <= labels.items()
            ):
                ways[name] |= {port["port"] for way in policy["egress"] for port in way["ports"]}

    assert ways == {
        "worker": {53, 6379, 443},
        "mail-worker": {53, 6379, 443, 25, 465, 587},
        "beat": {53, 6379},
        "serve": {53, 6379},
    }


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on this machine")
def test_the_whole_is_put_together() -> None:
    """Every object is in it, and each container runs our image by its version."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    made = list(yaml.safe_load_all(done.stdout))
    images = {_container(item)["image"] for item in made if item["kind"] == "Deployment"}

    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert images == {f"conferencing-reconciler:{version}"}
    assert len(made) == len(OBJECTS) - len(FILES["kustomization.yaml"]) - len(FILES["autoscaling.yaml"])


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

    values = {name.removeprefix(PREFIX).lower(): value for name, value in settings.items()}
    # There is no such directory here.
    load_settings(**{name: value for name, value in values.items() if name != "secrets_dir"})
    assert not [name for name in settings if re.search("_SECRET$|KEYS|PASSWORD|TOKEN|_URL", name)]
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
