"""The official SDKs against the sandbox, and the table of their calls in ``docs/sandbox.md``.

    CRONOFY_SDKS=DIRECTORY python -m tests.contract.sdks.conformance

writes the columns of the SDKs that are there. The directory holds what Cronofy publishes, which is no part of
this project: ``node_modules/cronofy``, and the sources as ``cronofy-ruby`` and ``cronofy-php``. Python's is
installed with the development tools.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.report import put
from sandbox.options import SandboxOptions
from sandbox.server import RunningSandbox
from sandbox.world.courier import sign
from tests.contract.decisions import markdown
from tests.contract.documents import ROOT, table

HERE = Path(__file__).parent
MANUAL = ROOT / "docs" / "sandbox.md"
BODY, SECRET = '{"example":"well-known"}', "sandbox-secret"
BACK = "https://app.example/back"


@dataclass(frozen=True)
class Sdk:
    """How an SDK's script is run; `folder` is where the SDK lies in the directory, if it must."""

    name: str
    program: str
    script: str
    folder: str = ""

    def missing(self) -> str:
        """Why it cannot run here; empty if it can."""
        if not shutil.which(self.program):
            return f"{self.program} is not installed"
        if self.folder and not os.environ.get("CRONOFY_SDKS"):
            return "CRONOFY_SDKS is not set"
        if self.folder and not (self._home() / self.folder).is_dir():
            return f"there is no {self.folder} in CRONOFY_SDKS"
        return ""

    def _home(self) -> Path:
        return Path(os.environ.get("CRONOFY_SDKS", "")).absolute()

    def environment(self, url: str) -> Mapping[str, str]:
        """Where each SDK looks for itself and for Cronofy."""
        home = self._home()
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "NODE_PATH": str(home / "node_modules"),
            "RUBYLIB": str(home / "cronofy-ruby" / "lib"),
            "CRONOFY_PHP": str(home / "cronofy-php"),
            "CRONOFY_API_URL": url,
            "CRONOFY_APP_URL": url,
        }


SDKS = (
    Sdk("Python", sys.executable, "calls.py"),
    Sdk("Node", "node", "calls.js", "node_modules/cronofy"),
    Sdk("Ruby", "ruby", "calls.rb", "cronofy-ruby/lib"),
    Sdk("PHP", "php", "calls.php", "cronofy-php/src"),
)


@dataclass(frozen=True)
class Made:
    """One call that an SDK made: the method's name, or what went wrong."""

    call: str
    worked: bool
    said: str


def run(sdk: Sdk) -> list[Made]:
    """Have the SDK make its calls at a fresh sandbox; raises if it does not even start."""
    with RunningSandbox(SandboxOptions(page_size=2)) as sandbox:
        control = sandbox.control
        account = control.create_account(calendar_profiles=[{"calendars": [{"calendar_id": "cal_U9@EAAAB"}]}])
        start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
        given = {
            "url": sandbox.url,
            "client_id": "sandbox-client",
            "client_secret": SECRET,
            **{name: account[name] for name in ("sub", "access_token", "refresh_token")},
            "calendar_id": "cal_U9@EAAAB",
            "profile_id": account["calendar_profiles"][0]["profile_id"],
            "code": control.create_code(account["sub"], BACK)["code"],
            "redirect_uri": BACK,
            "start": start.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "end": (start + timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "body": BODY,
            "signature": sign(BODY.encode(), [SECRET]),
        }
        done = subprocess.run(
            [sdk.program, str(HERE / sdk.script), json.dumps(given)],
            env=sdk.environment(sandbox.url),
            cwd=HERE,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"{sdk.name}'s script ended with {done.returncode}: {done.stderr}")
    return [Made(*json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]


def documented() -> Iterator[tuple[str, str, str]]:
    """The table as it stands: call, SDK, cell."""
    for row in table("docs/sandbox.md", "call"):
        for sdk, cell in zip(SDKS, row[1:], strict=True):
            yield row[0], sdk.name, cell


def _table() -> str:
    cells = {(call, sdk): cell for call, sdk, cell in documented()}
    for sdk in SDKS:
        if reason := sdk.missing():
            print(f"{sdk.name}: {reason}; its column stays.", file=sys.stderr)
            continue
        made = run(sdk)
        for each in made:
            cells[each.call, sdk.name] = f"`{each.said}`" if each.worked else f"fails: {each.said}"
    calls = list(dict.fromkeys(call for call, _ in cells))
    rows = [(call, *(cells.get((call, sdk.name), "–") for sdk in SDKS)) for call in calls]
    return markdown(("call", *(sdk.name for sdk in SDKS)), rows)


if __name__ == "__main__":
    put(MANUAL, "calls", _table())
