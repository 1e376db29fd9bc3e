"""Every path, command, option and variable in the image and the fleet's files exists."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from datetime import timedelta
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from celery.bin.beat import beat as celery_beat
from celery.bin.worker import worker as celery_worker
from cryptography.fernet import Fernet
from redis import Redis
from redis.exceptions import AuthenticationError, ConnectionError

from config.queues import Queues
from config.settings import PREFIX, Settings, load_settings
from sandbox.server import RunningSandbox
from tests.contract.commands import COMMANDS
from tests.contract.documents import ROOT, code, table, text_of
from tests.integration.served import serving
from tests.ports import free_port
from tests.waiting import wait_until
from worker.host.embedded import find_binary

COMPOSE: dict[str, Any] = yaml.safe_load(text_of("docker-compose.yml"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
#: What the second file adds to the first one.
MONITORING: dict[str, Any] = yaml.safe_load(text_of("docker-compose.monitoring.yml"))
WATCHERS = {name: each for name, each in MONITORING["services"].items() if name not in SERVICES}
FILES = ("docker-compose.yml", "docker-compose.monitoring.yml")
PROJECT: dict[str, Any] = tomllib.loads(text_of("pyproject.toml"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
#: The services that run our image.
ROLES = {name: service for name, service in SERVICES.items() if "build" in service}
OURS = [pytest.param(service, id=name) for name, service in ROLES.items()]
#: The server's address, with the password that .env names.
REDIS_URL = r"redis://:\$\{REDIS_PASSWORD:\?[^}]+\}@([a-z]+):6379/0"
#: Roles that also take Celery's own options, with the command that parses them.
CELERY = {"worker": celery_worker, "beat": celery_beat}


def _instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, with continuation lines joined and comments removed."""
    text = text_of("Dockerfile")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    joined = re.sub(r"\\\n\s*", "", text)
    words = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(name, rest) for name, rest in words]


DOCKERFILE = _instructions()
FINAL_STAGE = DOCKERFILE[max(i for i, (name, _) in enumerate(DOCKERFILE) if name == "FROM") :]


def _last(name: str) -> str:
    """The last instruction of this name in the final stage."""
    return next(rest for found, rest in reversed(FINAL_STAGE) if found == name)


def _exec_form(text: str) -> list[str]:
    words = yaml.safe_load(text)
    assert isinstance(words, list), f"not the exec form: {text}"
    return words


def celery_options(words: list[str]) -> dict[str, Any]:
    """What Celery parses from a `reconciler` command line; an unknown option raises."""
    name, *rest = words
    passed_on = COMMANDS[name].make_context(name, rest).args
    if name not in CELERY:
        assert passed_on == []
        return {}
    options, left_over, _ = CELERY[name].make_parser(click.Context(CELERY[name])).parse_args(passed_on)
    assert left_over == []
    return dict(options)


def _queues(service: dict[str, Any]) -> list[str]:
    """The queues a service consumes."""
    if service["command"][0] != "worker":
        return []
    named = celery_options(service["command"]).get("queues")
    return named.split(",") if named else list(Queues.of("reconciler"))


def secrets_of(words: list[str]) -> set[str]:
    """What docs/deployment.md gives to the role of this command line."""
    line = shlex.join(["reconciler", *words])
    [row] = [row for row in table("docs/deployment.md", "command") if line.startswith(code(row[0])[0])]
    return set(code(row[1]))


def _seconds(text: str) -> timedelta:
    """A duration in Compose's notation (60s, 2m)."""
    number, unit = text[:-1], text[-1]
    return timedelta(**{{"s": "seconds", "m": "minutes", "h": "hours"}[unit]: int(number)})


# The image.


def test_the_image_copies_all_packages_and_only_existing_paths() -> None:
    """Every COPY names an existing path, and .dockerignore excludes everything else."""
    copies = [rest.split() for name, rest in DOCKERFILE if name == "COPY" and "--from" not in rest]
    copied = {source.removeprefix("./") for words in copies for source in words[:-1]}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    rules = [line for line in text_of(".dockerignore").split("\n") if line and not line.startswith("#")]

    assert [source for source in copied if not (ROOT / source).exists()] == []
    assert packages <= copied
    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == copied
    assert not any(fnmatch(".env", rule.removeprefix("!")) for rule in rules[1:])


def test_everything_that_is_installed_is_pinned_by_hash() -> None:
    """Each install uses a lock with hashes, or our own wheel; the sandbox's part is all of it and no more."""
    runs = [rest for name, rest in DOCKERFILE if name == "RUN"]
    parts = [part for rest in runs for part in re.split("&&|then|;", rest)]
    installs = [shlex.split(part) for part in parts if " install " in part and "pip" in part.split()[0]]
    tool, sandbox = (_picked(rest) for rest in runs if rest.startswith("sed"))

    assert len(installs) == 4
    assert all("--require-hashes" in words or "--no-deps" in words for words in installs)
    assert set(tool) == {"setuptools"}
    assert set(sandbox) == _only_for("sandbox", "embedded")
    for first, *hashes in [*tool.values(), *sandbox.values()]:
        assert re.match(r"[a-z]+==[0-9]", first)
        assert hashes
        assert all(line.strip().startswith("--hash=sha256:") for line in hashes)


def _picked(run: str) -> dict[str, list[str]]:
    """What the image's `sed` picks from a lock, by distribution."""
    command = shlex.split(run.split(">", maxsplit=1)[0])
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    blocks = re.split(r"\n(?=[a-z])", text.strip())
    return {block.split("==")[0]: block.splitlines() for block in blocks}


def _only_for(*extras: str) -> set[str]:
    """The distributions that these extras need and a fleet does not, by what the lock says of each."""
    fleet = set(re.findall(r"^([a-z0-9-]+)==", text_of("requirements.lock"), re.MULTILINE))
    blocks = re.split(r"\n(?=[a-z])", text_of("requirements-dev.lock"))
    needed_by = {
        block.split("==")[0]: set(re.findall(r"# +(?:via )?(\S+)$", block, re.M)) for block in blocks
    }
    found = {re.split("[^a-z-]", need)[0] for extra in extras for need in EXTRAS[extra]} - fleet
    while more := {name for name, by in needed_by.items() if by & found} - fleet - found:
        found |= more
    return found


def test_the_image_runs_a_command_that_exists() -> None:
    """Not as root, stopped by a warm shutdown, with valid settings, and labelled with our own version."""
    uid, gid = map(int, _last("USER").split(":"))
    variables = dict(word.split("=", 1) for word in shlex.split(_last("ENV")))
    arguments = dict(rest.split("=") for name, rest in FINAL_STAGE if name == "ARG")
    labels = {name.split("=")[0] for name in shlex.split(_last("LABEL"))}

    assert min(uid, gid) > 0
    assert _last("STOPSIGNAL") == "SIGTERM"
    assert _exec_form(_last("ENTRYPOINT")) == ["reconciler"]
    assert celery_options(_exec_form(_last("CMD"))) == {}
    assert arguments == {"VERSION": PROJECT["version"], "REVISION": ""}
    assert {label.removeprefix("org.opencontainers.image.") for label in labels} == {
        *("title", "description", "licenses", "version", "revision"),
    }
    assert PROJECT["description"] in _last("LABEL")
    assert _valid(variables) == {"data_dir", "log_format"}
    assert variables["RECONCILER_DATA_DIR"] == _last("WORKDIR")


# The fleet.


@pytest.mark.parametrize("service", OURS)
def test_a_service_runs_a_command_that_exists(service: dict[str, Any]) -> None:
    """With valid settings, time to finish its tasks, no privileges, and a restart when it dies."""
    assert isinstance(service["command"], list)
    celery_options(service["command"])
    _valid(service.get("environment", {}))
    assert _seconds(service["stop_grace_period"]) > Settings.model_fields["task_time_limit"].default
    assert (service["restart"], service["read_only"]) == ("unless-stopped", True)
    assert service["cap_drop"] == ["ALL"]
    if "profiles" not in service:
        host = re.fullmatch(REDIS_URL, service["environment"]["RECONCILER_REDIS_URL"])
        assert host is not None
        assert service["depends_on"] == {host[1]: {"condition": "service_healthy"}}
        assert "healthcheck" in SERVICES[host[1]]


@pytest.mark.parametrize(
    "service", [pytest.param(s, id=name) for name, s in ROLES.items() if s["command"][0] in CELERY]
)
def test_a_service_is_probed_for_the_role_that_it_has(service: dict[str, Any]) -> None:
    """By its role's command, in exec form, with somewhere to write on the read-only root."""
    program, script, *words = service["healthcheck"]["test"]

    assert (program, script) == ("CMD", _exec_form(_last("ENTRYPOINT"))[0])
    assert words == ["healthcheck", service["command"][0]]
    assert celery_options(words) == {}
    assert "/tmp" in service["tmpfs"]
    assert _seconds(service["healthcheck"]["timeout"]) <= _seconds(service["healthcheck"]["interval"])


def test_the_roles_together_do_all_the_work() -> None:
    """Together they consume each queue once, and there is a beat."""
    consumed = [queue for service in ROLES.values() for queue in _queues(service)]

    assert sorted(consumed) == sorted(Queues.of("reconciler"))
    assert [service["command"][0] for service in ROLES.values()].count("beat") == 1


def test_persistent_data_is_on_a_volume() -> None:
    """Redis appends to a file and evicts nothing; mail files are kept; every volume is declared and used."""
    flags = dict(re.findall(r"^([a-z-]+) (\S+)$", SERVICES["redis"]["command"][-1], re.MULTILINE))
    services = {**WATCHERS, **SERVICES}
    volumes = {name: [v.split(":") for v in s.get("volumes", [])] for name, s in services.items()}
    named = {source for each in volumes.values() for source, *_ in each if not source.startswith(".")}

    assert (flags["appendonly"], flags["maxmemory-policy"]) == ("yes", "noeviction")
    assert "/data" in [target for _, target, *_ in volumes["redis"]]
    writers = [name for name, service in ROLES.items() if "reconciler.mail" in _queues(service)]
    assert writers
    assert all(_last("WORKDIR") in [target for _, target, *_ in volumes[name]] for name in writers)
    assert named == {*COMPOSE["volumes"], *MONITORING["volumes"]}
    folders = [v for each in volumes.values() for v in each if v[0].startswith(".")]
    assert all((ROOT / folder).is_dir() and mode == "ro" for folder, _, mode in folders)


def test_prometheus_and_grafana_find_what_is_mounted() -> None:
    """The target is the service's name and port; the token is where Compose mounts it."""
    [job] = yaml.safe_load(text_of("deploy/prometheus/prometheus.yml"))["scrape_configs"]
    [name] = [name for name, service in ROLES.items() if service["command"][0] == "serve"]
    port = COMMANDS["serve"].make_context("serve", SERVICES["serve"]["command"][1:]).params["port"]
    [secret] = WATCHERS["prometheus"]["secrets"]
    provisioning = "deploy/grafana/provisioning"
    [provider] = yaml.safe_load(text_of(f"{provisioning}/dashboards/reconciler.yml"))["providers"]
    mounts = dict(volume.split(":")[:2] for volume in WATCHERS["grafana"]["volumes"])

    assert job["static_configs"] == [{"targets": [f"{name}:{port}"]}]
    assert job["authorization"] == {"credentials_file": f"/run/secrets/{secret}"}
    assert MONITORING["secrets"][secret] == {"environment": "RECONCILER_METRICS_TOKEN"}
    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]
    assert mounts[f"./{provisioning}"] == "/etc/grafana/provisioning"


def test_nothing_is_exposed() -> None:
    """Published ports are loopback only, and secrets come only from .env, which git ignores."""
    services = [*SERVICES.values(), *WATCHERS.values()]
    published = [port for service in services for port in service.get("ports", [])]
    variables = {name for service in ROLES.values() for name in service.get("environment", {})}

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert not {name for name in variables if re.search("SECRET|KEYS|PASSWORD|TOKEN|SMTP", name)}
    assert ".env" in text_of(".gitignore").split("\n")


def test_with_secrets_as_files_each_role_has_its_own() -> None:
    """Those of docs/deployment.md, named as their settings; Compose itself names the Redis."""
    shown = yaml.safe_load(text_of("docker-compose.secrets.yml"))
    given = {name: service["secrets"] for name, service in shown["services"].items() if name in ROLES}
    roles = {name: service["command"] for name, service in ROLES.items() if name != "sandbox"}
    wanted = {name: secrets_of(words) - {f"{PREFIX}REDIS_URL"} for name, words in roles.items()}

    assert {name: set(secrets) for name, secrets in given.items()} == {n: s for n, s in wanted.items() if s}
    assert all(shown["services"][name]["environment"] == shown["x-secrets"] for name in given)
    assert shown["x-secrets"] == {f"{PREFIX}SECRETS_DIR": "/run/secrets"}
    assert shown["secrets"] == {name: {"file": f"./secrets/{name}"} for name in set().union(*given.values())}
    assert "/secrets/" in text_of(".gitignore").split("\n")


@pytest.mark.parametrize("file", FILES)
def test_compose_stops_where_a_password_is_missing(file: str) -> None:
    """Whatever is taken from .env is required, with a sentence, and is named at the file's head."""
    text = text_of(file)
    taken = re.findall(r"(?<!\$)\$\{?(\w+)([^}]*)\}", text)

    assert taken
    assert [name for name, rest in taken if not re.fullmatch(rf":\?Set {name} in \.env.*\.", rest)] == []
    assert {name for name, _ in taken} - {"REDIS_PASSWORD"} <= set(
        re.findall(r"^#   (\w+)=…$", text, re.MULTILINE)
    )


def test_redis_takes_nobody_without_the_password(tmp_path: Path) -> None:
    """The command as Compose runs it, on another port: the fleet's URL fits, and no process list shows it."""
    *shell, script = SERVICES["redis"]["command"]
    port, password = free_port(), "f00ba4"
    script = script.replace("$$", "$").replace("valkey-server -", f"{find_binary()} - --port {port}")
    assert list(SERVICES["redis"]["environment"]) == ["REDISCLI_AUTH"]
    env = {**os.environ, "REDISCLI_AUTH": password}
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen([*shell, script], cwd=tmp_path, env=env, stdout=log, stderr=log)
    try:
        with Redis(port=port, password=password) as known, Redis(port=port) as stranger:
            wait_until(lambda: _answers(known), what="the server")
            assert known.config_get("appendonly") == {"appendonly": "yes"}
            with pytest.raises(AuthenticationError):
                stranger.ping()
        assert password.encode() not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
    finally:
        server.terminate()
        server.wait(10)


def _answers(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except ConnectionError:
        return False


@pytest.mark.parametrize("name", ["serve", "sandbox"])
def test_what_is_served_is_probed_at_an_address_that_answers(name: str) -> None:
    """The probe as Compose runs it, at another address: it passes while the server runs, and then fails."""
    service = SERVICES[name]
    options = COMMANDS[name].make_context(name, service["command"][1:]).params
    kind, program, *words = service["healthcheck"]["test"]
    host = "127.0.0.1" if options["host"] == "0.0.0.0" else options["host"]
    address = f"http://{host}:{options['port']}/"
    assert (kind, program, words[0]) == ("CMD", "python", "-c")
    assert address in words[1]

    settings = {"redis_url": "redis://127.0.0.1:1/0", "vault_keys": Fernet.generate_key().decode()}
    with RunningSandbox() if name == "sandbox" else serving(**settings) as running:
        url = running if isinstance(running, str) else running.url
        probe = [sys.executable, "-c", words[1].replace(address, f"{url}/")]
        assert subprocess.run(probe, check=False).returncode == 0
    assert subprocess.run(probe, stderr=subprocess.DEVNULL, check=False).returncode == 1


def test_who_watches_is_on_a_network_apart() -> None:
    """Only Flower, which needs the broker, and serve, which is watched, are on both networks."""
    networks = {name: set(each["networks"]) for name, each in MONITORING["services"].items()}

    assert networks == {
        "serve": {"default", "monitoring"},
        "flower": {"default", "monitoring"},
        "prometheus": {"monitoring"},
        "grafana": {"monitoring"},
    }
    assert set(MONITORING["networks"]) == {"monitoring"}
    assert not any("networks" in service for service in SERVICES.values())
    assert re.fullmatch(REDIS_URL, WATCHERS["flower"]["environment"]["CELERY_BROKER_URL"])


def test_the_settings_for_the_sandbox_fit_the_sandbox() -> None:
    """What the file's header says to put into .env matches the sandbox's ports and client."""
    text = text_of("docker-compose.yml")
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
    # Relink links begin with the sandbox's listening host, and only the API URL's host may use http.
    assert options["host"] == service["hostname"]


def _valid(variables: dict[str, str]) -> set[str]:
    """Check a mapping's RECONCILER_ variables against the settings; returns their fields."""
    given = {name: re.sub(r"\$\{[^}]+\}", "f00ba4", value) for name, value in variables.items()}
    ours = {name.removeprefix(PREFIX).lower(): v for name, v in given.items() if name.startswith(PREFIX)}
    assert set(ours) <= set(Settings.model_fields)
    load_settings(**ours)
    return set(ours)
