"""Makes `ledger-0.1.0.json` with the code of version 0.1.0: `python -m tests.upgrades.make`.

The file stands as it is: nothing that this version does can change what 0.1.0 left behind. Making it again
gives the same file, except for when keys expire, and for what depends on the versions of libraries.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from redis import Redis

from tests.upgrades import old, stored
from worker.host.embedded import embedded_server

BUILD = Path(__file__).with_name("build_0_1_0.py")


def made(home: Path) -> dict[str, Any]:
    """The ledger, and how 0.1.0 read it; NoHistory if its code is not here."""
    # At a fixed place, since a traceback in the ledger names files.
    tree = old.unpack(old.V0_1_0, Path(tempfile.gettempdir()) / f"reconciler-{old.V0_1_0}")
    with embedded_server(home / "redis") as url, Redis.from_url(url) as redis:
        # From standard input, for the same reason.
        with BUILD.open() as script:
            run = subprocess.run(
                [*old.interpreter(), "-", url, str(home)],
                stdin=script,
                stdout=subprocess.PIPE,
                cwd=home,
                env=old.environment(tree),
                check=True,
                timeout=120,
            )
        return {"version": "0.1.0", "read": json.loads(run.stdout), "ledger": stored.dumped(redis)}


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        stored.V0_1_0.write_text(stored.as_text(made(Path(home))))


if __name__ == "__main__":
    main()
