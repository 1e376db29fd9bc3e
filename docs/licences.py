"""The licences in a CycloneDX file: `make sbom` prints them.

python docs/licences.py build/sbom.cdx.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

UNKNOWN = "not in its metadata: see its project"


def licence(component: dict[str, Any]) -> str:
    """A component's licence, by its SPDX name where its metadata has that."""
    found = component.get("licenses", [])
    expressions = [entry["expression"] for entry in found if "expression" in entry]
    ids = [entry["license"]["id"] for entry in found if "id" in entry.get("license", {})]
    names = [entry["license"]["name"] for entry in found if "name" in entry.get("license", {})]
    return ", ".join(expressions or ids or [name.rpartition(":: ")[2] for name in names]) or UNKNOWN


def main(file: Path) -> None:
    """Print one line for each component."""
    components = json.loads(file.read_text(encoding="utf-8"))["components"]
    for component in sorted(components, key=lambda each: each["name"].lower()):
        print(f"{component['name']:45} {component['version']:12} {licence(component)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
