"""Asks PyPI's advisory service for known vulnerabilities of pinned packages.

usage: python .ci/audit.py requirements.txt

Ends with 0 when all were asked about and none has any, with 1 when one has, and with 3
when some could not be asked about: pip-audit itself counts those as fine.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

CLEAN, VULNERABLE, UNKNOWN = 0, 1, 3
OPTIONS = ("--no-deps", "--disable-pip", "--progress-spinner=off", "--timeout=10")


def main(requirements: str) -> int:
    """Ask, and say what came of it."""
    audit = (sys.executable, "-m", "pip_audit", "--format=json", *OPTIONS)
    ran = subprocess.run(  # noqa: S603 - the command is ours
        [*audit, "-r", requirements], capture_output=True, text=True, check=False
    )
    try:
        packages = json.loads(ran.stdout)["dependencies"]
    except ValueError:
        why = (ran.stderr.strip() or "no answer").splitlines()[-1]
        return _say(UNKNOWN, f"NOT AUDITED: {why}")
    return judge(packages)


def judge(packages: list[dict[str, Any]]) -> int:
    """Say what was found; what could not be asked about is no good news."""
    unasked = [package["name"] for package in packages if "skip_reason" in package]
    for package in packages:
        for flaw in package.get("vulns", ()):
            fixed = ", ".join(flaw["fix_versions"]) or "no version yet"
            _say(0, f"{package['name']}: {flaw['id']}, fixed in {fixed}")
    if any(package.get("vulns") for package in packages):
        return _say(VULNERABLE, "Known vulnerabilities in pinned packages.")
    if unasked or not packages:
        text = f"the advisory service answered for {len(packages) - len(unasked)}"
        return _say(UNKNOWN, f"NOT AUDITED: {text} of {len(packages)} packages.")
    return _say(CLEAN, f"{len(packages)} packages have no known vulnerability.")


def _say(status: int, text: str) -> int:
    sys.stderr.write(f"{text}\n")
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
