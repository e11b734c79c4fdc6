"""Asks PyPI's advisory service for known vulnerabilities of pinned packages.

usage: python .ci/audit.py [--record] requirements.txt

Ends with 0 when all were asked about and none has any, with 1 when one has, and with 3
when some could not be asked about: pip-audit itself counts those as fine. Then it says
when all were last answered for; ``--record`` notes that day in audited.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

CLEAN, VULNERABLE, UNKNOWN = 0, 1, 3
OPTIONS = ("--no-deps", "--disable-pip", "--progress-spinner=off", "--timeout=10")
RECORD = Path(__file__).with_name("audited.json")


def main() -> int:
    """Ask, and say what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--record", action="store_true", help="note an answer")
    parser.add_argument("requirements", type=Path)
    args = parser.parse_args()
    packages, why = ask(args.requirements)
    status = judge(packages) if packages else _say(UNKNOWN, f"NOT AUDITED: {why}")
    if status == UNKNOWN:
        _say(UNKNOWN, last_answer(args.requirements))
    elif args.record and not unasked(packages):
        record(args.requirements, packages)
    return status


def ask(requirements: Path) -> tuple[list[dict[str, Any]], str]:
    """Return what the service says of each package, or nothing and why."""
    audit = (sys.executable, "-m", "pip_audit", "--format=json", *OPTIONS)
    ran = subprocess.run(  # noqa: S603 - the command is ours
        [*audit, "-r", requirements], capture_output=True, text=True, check=False
    )
    try:
        return json.loads(ran.stdout)["dependencies"], "there is no package"
    except ValueError:
        return [], (ran.stderr.strip() or "no answer").splitlines()[-1]


def unasked(packages: list[dict[str, Any]]) -> list[str]:
    """Return the packages that the service was silent about."""
    return [package["name"] for package in packages if "skip_reason" in package]


def judge(packages: list[dict[str, Any]]) -> int:
    """Say what was found; what could not be asked about is no good news."""
    for package in packages:
        for flaw in package.get("vulns", ()):
            fixed = ", ".join(flaw["fix_versions"]) or "no version yet"
            _say(0, f"{package['name']}: {flaw['id']}, fixed in {fixed}")
    if any(package.get("vulns") for package in packages):
        return _say(VULNERABLE, "Known vulnerabilities in pinned packages.")
    silent = len(unasked(packages))
    if silent or not packages:
        text = f"the advisory service answered for {len(packages) - silent}"
        return _say(UNKNOWN, f"NOT AUDITED: {text} of {len(packages)} packages.")
    return _say(CLEAN, f"{len(packages)} packages have no known vulnerability.")


def record(requirements: Path, packages: list[dict[str, Any]]) -> None:
    """Note that the service has answered today for all of these pins."""
    answer = {
        "answered": datetime.now(UTC).date().isoformat(),
        "pins": _digest(requirements),
        "vulnerable": [each["name"] for each in packages if each.get("vulns")],
    }
    RECORD.write_text(json.dumps(answer, indent=2) + "\n")


def last_answer(requirements: Path) -> str:
    """Return a sentence that says when the service last answered, and for what."""
    last = json.loads(RECORD.read_text())
    if last["answered"] is None:
        return "No answer of the service has been recorded yet."
    same = last["pins"] == _digest(requirements)
    what = "these pins" if same else "other pins than these"
    found = ", ".join(last["vulnerable"]) or "none"
    return f"It last answered on {last['answered']}, for {what}; vulnerable: {found}."


def _digest(requirements: Path) -> str:
    return sha256(requirements.read_bytes()).hexdigest()


def _say(status: int, text: str) -> int:
    sys.stderr.write(f"{text}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
