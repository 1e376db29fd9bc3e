"""Every path, command, option and variable that the image and the fleet's files name exists."""

from __future__ import annotations

import re
import shlex
import subprocess
from datetime import timedelta
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from celery.bin.beat import beat as celery_beat
from celery.bin.worker import worker as celery_worker

from config.celery import QUEUES
from config.settings import PREFIX, Settings, load_settings
from tests.contract.commands import COMMANDS

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
#: The services that run our image.
ROLES = {name: service for name, service in SERVICES.items() if "build" in service}
OURS = [pytest.param(service, id=name) for name, service in ROLES.items()]
#: Roles that take Celery's own options too, with the command that reads them.
CELERY = {"worker": celery_worker, "beat": celery_beat}


def _instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, with lines that go on joined and comments left out."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    joined = re.sub(r"\\\n\s*", "", text)
    words = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(name, rest) for name, rest in words]


DOCKERFILE = _instructions()
FINAL_STAGE = DOCKERFILE[max(i for i, (name, _) in enumerate(DOCKERFILE) if name == "FROM") :]


def _last(name: str) -> str:
    """What the final stage's last instruction of this name says."""
    return next(rest for found, rest in reversed(FINAL_STAGE) if found == name)


def _exec_form(text: str) -> list[str]:
    words = yaml.safe_load(text)
    assert isinstance(words, list), f"not the exec form: {text}"
    return words


def _copied() -> list[str]:
    """The paths of the repository that go into the image."""
    copies = [rest.split() for name, rest in DOCKERFILE if name == "COPY" and "--from" not in rest]
    return [source.removeprefix("./") for words in copies for source in words[:-1]]


def _run(words: list[str]) -> list[str]:
    """Parse one command line of `reconciler`; returns the options that go on to Celery."""
    name, *rest = words
    context = COMMANDS[name].make_context(name, rest)
    return list(context.args)


def _celery_options(words: list[str]) -> dict[str, Any]:
    """What Celery reads of the options that go on to it; an unknown one raises."""
    passed_on = _run(words)
    if words[0] not in CELERY:
        assert passed_on == []
        return {}
    command = CELERY[words[0]]
    options, left_over, _ = command.make_parser(click.Context(command)).parse_args(passed_on)
    assert left_over == []
    return dict(options)


def _queues(service: dict[str, Any]) -> list[str]:
    """The queues that a service consumes."""
    if service["command"][0] != "worker":
        return []
    named = _celery_options(service["command"]).get("queues")
    return named.split(",") if named else list(QUEUES)


def _seconds(text: str) -> timedelta:
    """A duration as Compose writes it (60s, 2m)."""
    number, unit = text[:-1], text[-1]
    return timedelta(**{{"s": "seconds", "m": "minutes", "h": "hours"}[unit]: int(number)})


# The image.


def test_the_image_takes_only_what_is_there() -> None:
    """Every COPY names a path of the repository."""
    missing = [source for source in _copied() if not (ROOT / source).exists()]

    assert missing == []


def test_the_image_holds_every_package_of_the_distribution() -> None:
    """A new top-level package has to be copied too."""
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}

    assert packages <= set(_copied())


def test_the_builder_is_sent_what_is_copied_and_nothing_else() -> None:
    """.dockerignore shuts everything out but the paths that COPY names."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    rules = [line for line in lines if line and not line.startswith("#")]

    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == set(_copied())
    assert not any(fnmatch(".env", rule.removeprefix("!")) for rule in rules[1:])


def test_everything_that_is_installed_is_pinned_by_hash() -> None:
    """Each pip install takes a lock with its hashes, or our own wheel without its dependencies."""
    runs = [part for name, rest in DOCKERFILE if name == "RUN" for part in rest.split("&&")]
    installs = [shlex.split(part) for part in runs if " install " in part and "pip" in part.split()[0]]

    assert len(installs) == 3
    assert all("--require-hashes" in words or "--no-deps" in words for words in installs)


def test_the_build_tool_is_taken_from_the_lock() -> None:
    """The command that picks it yields exactly one pinned requirement with its hashes."""
    runs = [rest for name, rest in DOCKERFILE if name == "RUN" and rest.startswith("sed")]
    command = shlex.split(runs[0].split(">")[0])

    picked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    first, *others = picked.splitlines()
    assert first.startswith("setuptools==")
    assert others
    assert all(line.strip().startswith("--hash=sha256:") for line in others)


def test_the_image_is_not_root_and_ends_by_a_warm_shutdown() -> None:
    """Its user is a fixed number, and Celery is asked to end by SIGTERM."""
    uid, gid = _last("USER").split(":")

    assert int(uid) > 0
    assert int(gid) > 0
    assert _last("STOPSIGNAL") == "SIGTERM"


def test_the_image_runs_a_command_that_exists() -> None:
    """ENTRYPOINT is the console script and CMD one of its commands, both in exec form."""
    assert _exec_form(_last("ENTRYPOINT")) == ["reconciler"]
    assert _celery_options(_exec_form(_last("CMD"))) == {}


def test_the_image_sets_only_variables_that_exist() -> None:
    """Each RECONCILER_ variable of the image is a setting, with a value that is valid."""
    variables = dict(word.split("=", 1) for word in shlex.split(_last("ENV")))

    assert _valid(variables) == {"data_dir", "log_format"}
    assert Path(variables["RECONCILER_DATA_DIR"]) == Path(_last("WORKDIR"))


# The fleet.


@pytest.mark.parametrize("service", OURS)
def test_a_service_runs_a_command_that_exists(service: dict[str, Any]) -> None:
    """Its command line is accepted, what is Celery's by Celery, and it is in exec form."""
    assert isinstance(service["command"], list)

    _celery_options(service["command"])


@pytest.mark.parametrize("service", OURS)
def test_a_service_sets_only_variables_that_exist(service: dict[str, Any]) -> None:
    """Each RECONCILER_ variable is a setting, with a value that is valid."""
    _valid(service.get("environment", {}))


@pytest.mark.parametrize("service", OURS)
def test_a_service_has_time_to_finish_its_tasks(service: dict[str, Any]) -> None:
    """It is killed only after the longest task would have ended by itself."""
    limit = Settings.model_fields["task_time_limit"].default

    assert _seconds(service["stop_grace_period"]) > limit


@pytest.mark.parametrize("service", OURS)
def test_a_service_comes_back_and_may_do_little(service: dict[str, Any]) -> None:
    """It is started again when it dies, and runs without privileges on a root that cannot be written."""
    assert service["restart"] == "unless-stopped"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]


@pytest.mark.parametrize(
    "service", [pytest.param(s, id=name) for name, s in ROLES.items() if "profiles" not in s]
)
def test_a_service_of_the_fleet_waits_for_redis(service: dict[str, Any]) -> None:
    """It starts once Redis answers, at the address that it is given."""
    host = re.fullmatch(r"redis://([a-z]+):6379/0", service["environment"]["RECONCILER_REDIS_URL"])

    assert host is not None
    assert service["depends_on"] == {host[1]: {"condition": "service_healthy"}}
    assert "healthcheck" in SERVICES[host[1]]


@pytest.mark.parametrize(
    "service", [pytest.param(s, id=name) for name, s in ROLES.items() if s["command"][0] in CELERY]
)
def test_a_service_is_probed_for_the_role_that_it_has(service: dict[str, Any]) -> None:
    """By the command that exists for it, in exec form, which has a place to write on the read-only root."""
    program, script, *words = service["healthcheck"]["test"]

    assert (program, script) == ("CMD", _exec_form(_last("ENTRYPOINT"))[0])
    assert words == ["healthcheck", service["command"][0]]
    assert _run(words) == []
    assert "/tmp" in service["tmpfs"]
    assert _seconds(service["healthcheck"]["timeout"]) <= _seconds(service["healthcheck"]["interval"])


def test_every_queue_is_consumed_and_none_is_made_up() -> None:
    """The services together consume the program's queues, each of them once."""
    consumed = [queue for service in ROLES.values() for queue in _queues(service)]

    assert sorted(consumed) == sorted(QUEUES)


def test_there_is_a_beat() -> None:
    """Without it nothing would ever be swept."""
    assert [service["command"][0] for service in ROLES.values()].count("beat") == 1


def test_redis_keeps_what_it_is_given() -> None:
    """It writes an append-only file on a volume, and evicts nothing."""
    words = SERVICES["redis"]["command"]
    flags = dict(zip(words[1::2], words[2::2], strict=True))

    assert flags["--appendonly"] == "yes"
    assert flags["--maxmemory-policy"] == "noeviction"
    assert any(volume.endswith(":/data") for volume in SERVICES["redis"]["volumes"])


def test_every_volume_is_declared_and_every_declared_one_is_used() -> None:
    """No service names a volume that is not there."""
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}

    assert {name for name in used if not name.startswith(".")} == set(COMPOSE["volumes"])


def test_every_folder_that_is_mounted_is_there() -> None:
    """Folders of the repository are only read."""
    mounted = [v.split(":") for s in SERVICES.values() for v in s.get("volumes", []) if v.startswith(".")]

    assert mounted
    assert all((ROOT / folder).is_dir() and mode == "ro" for folder, _, mode in mounted)


def test_prometheus_scrapes_what_is_served_with_its_token() -> None:
    """The target is the service's name and port, and the token comes from where Compose puts it."""
    [job] = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    [name], options = [
        [name for name, service in ROLES.items() if service["command"][0] == "serve"],
        COMMANDS["serve"].make_context("serve", SERVICES["serve"]["command"][1:]).params,
    ]
    [secret] = SERVICES["prometheus"]["secrets"]

    assert job["static_configs"] == [{"targets": [f"{name}:{options['port']}"]}]
    assert job["authorization"] == {"credentials_file": f"/run/secrets/{secret}"}
    assert COMPOSE["secrets"][secret] == {"environment": "RECONCILER_BOARD_TOKEN"}


def test_grafana_finds_its_dashboard_where_it_is_mounted() -> None:
    """The provider's path is the mount of the folder with the dashboard."""
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    [provider] = yaml.safe_load((provisioning / "dashboards" / "reconciler.yml").read_text())["providers"]
    mounts = dict(volume.split(":")[:2] for volume in SERVICES["grafana"]["volumes"])

    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"


def test_only_loopback_reaches_what_is_published() -> None:
    """Each port is the host's own; what is to be public goes through a proxy."""
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_mail_is_kept_where_the_image_keeps_its_data() -> None:
    """The one service that writes files has a volume at the data directory."""
    mounts = {name: [v.split(":")[1] for v in s.get("volumes", [])] for name, s in ROLES.items()}

    writers = [name for name, service in ROLES.items() if "reconciler.mail" in _queues(service)]
    assert writers
    assert all(_last("WORKDIR") in mounts[name] for name in writers)


def test_the_settings_for_the_sandbox_fit_the_sandbox() -> None:
    """What the file's head says to put into .env leads to the sandbox's own ports and client."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    shown = dict(re.findall(rf"^#   ({PREFIX}\w+)=(\S+)$", text, re.MULTILINE))
    service = SERVICES["sandbox"]
    context = COMMANDS["sandbox"].make_context("sandbox", list(service["command"][1:]))
    options = context.params

    _valid(shown)
    assert shown == {
        "RECONCILER_CRONOFY_CLIENT_ID": options["client_id"],
        "RECONCILER_CRONOFY_CLIENT_SECRET": options["client_secrets"][0],
        "RECONCILER_CRONOFY_API_URL": f"http://{service['hostname']}:{options['port']}",
        "RECONCILER_SMTP_URL": f"smtp://{service['hostname']}:{options['smtp_port']}",
    }
    # Relink links begin with the host that the sandbox listens on, and only the API URL's may be http.
    assert options["host"] == service["hostname"]


def test_no_secret_stands_in_the_files() -> None:
    """Secrets come from .env alone, which is not under version control."""
    variables = {name for service in ROLES.values() for name in service.get("environment", {})}

    assert not {name for name in variables if re.search("SECRET|KEYS|PASSWORD|TOKEN|SMTP", name)}
    assert ".env" in (ROOT / ".gitignore").read_text(encoding="utf-8").split("\n")


def _valid(variables: dict[str, str]) -> set[str]:
    """Check the RECONCILER_ variables of a mapping against the settings; returns their fields."""
    ours = {name.removeprefix(PREFIX).lower(): v for name, v in variables.items() if name.startswith(PREFIX)}
    assert set(ours) <= set(Settings.model_fields)
    load_settings(**ours)
    return set(ours)
