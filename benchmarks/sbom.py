"""What is installed here: sbom.json (CycloneDX 1.6) and a table of licences in docs/licences.md."""

from __future__ import annotations

import json
import re
from importlib.metadata import Distribution, distributions
from pathlib import Path


def main() -> None:
    """Writes both files."""
    found = sorted({each.name.lower(): each for each in distributions()}.values(), key=lambda each: each.name.lower())
    components = [
        {
            "type": "library",
            "name": each.name,
            "version": each.version,
            "purl": f"pkg:pypi/{re.sub(r'[-_.]+', '-', each.name).lower()}@{each.version}",
            "licenses": [{"license": {"name": licence_of(each)}}],
        }
        for each in found
    ]
    bill = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}
    Path("sbom.json").write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")
    rows = [f"| {each.name} | {each.version} | {licence_of(each)} |" for each in found]
    head = ["# Licences of what is installed", "", "`make sbom` writes it.", "", "| package | version | licence |"]
    Path("docs/licences.md").write_text("\n".join([*head, "|---|---|---|", *rows, ""]), encoding="utf-8")
    print(f"{len(found)} packages: sbom.json, docs/licences.md")


def licence_of(package: Distribution) -> str:
    """The licence that a package names: as an expression, as a classifier, or in the first line of a text."""
    told = package.metadata
    named = [each.rpartition(" :: ")[2] for each in told.get_all("Classifier", []) if each.startswith("License ::")]
    text = (told.get("License-Expression") or ", ".join(named) or told.get("License") or "not named").strip()
    return text.splitlines()[0][:80].replace("|", "/")


if __name__ == "__main__":
    main()
