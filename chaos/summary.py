"""``python -m chaos.summary FILE.json ...``: write several runs as one table.

It replaces the text between the two marks in ``docs/reliability.md``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "reliability.md"
BEGIN, END = "<!-- runs: begin -->", "<!-- runs: end -->"
NAMES = {
    "postgres": "PostgreSQL",
    "mariadb": "MariaDB",
    "sqlite": "SQLite",
    "redis": "Redis",
    "rabbitmq": "RabbitMQ, quorum",
    "rabbitmq-classic": "RabbitMQ, classic",
}


def main(paths: Sequence[str]) -> None:
    """Read the runs and write their tables into the document."""
    runs = _merged([json.loads(Path(path).read_text()) for path in paths])
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    parts = [BEGIN, *_machines(runs), _totals(runs), _faults(runs), *_notes(runs), END]
    DOCUMENT.write_text(before + "\n\n".join(parts) + after)


def _merged(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one run per pair of servers, with the latest row of each fault."""
    merged: dict[str, dict[str, Any]] = {}
    for run in runs:
        known = merged.setdefault(_name(run), {**run, "rows": [], "seconds": 0})
        rows = {row["fault"]: row for row in [*known["rows"], *run["rows"]]}
        known["rows"] = list(rows.values())
        known["seconds"] += run["seconds"]
    return list(merged.values())


def _machines(runs: Sequence[dict[str, Any]]) -> list[str]:
    return sorted({run["machine"] + "." for run in runs})


def _totals(runs: Sequence[dict[str, Any]]) -> str:
    """Return a table with a line for each run."""
    counts = ("events", "lost", "duplicated", "repeated", "unexplained")
    lines = [["run", "servers", *counts, "minutes", ""]]
    for run in runs:
        sums = [sum(row["check"][name] for row in run["rows"]) for name in counts]
        passed = all(row["passed"] for row in run["rows"])
        minutes = f"{run['seconds'] / 60:.1f}"
        end = "every promise kept" if passed else "BROKEN"
        lines.append([_name(run), run["servers"], *map(str, sums), minutes, end])
    return _table(lines)


def _faults(runs: Sequence[dict[str, Any]]) -> str:
    """Return a table with a line for each fault and a column for each run."""
    titles = {row["title"]: None for run in runs for row in run["rows"]}
    lines = [["fault", *(_name(run) for run in runs)]]
    lines += [[title, *(_cell(run, title) for run in runs)] for title in titles]
    return _table(lines)


def _cell(run: dict[str, Any], title: str) -> str:
    for row in run["rows"]:
        if row["title"] == title:
            repeated = row["check"]["repeated"]
            more = f", {repeated} repeated" if repeated else ""
            return f"ok, {row['seconds']:.1f} s{more}" if row["passed"] else "BROKEN"
    return ""


def _notes(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Return the measurements and the faults that were mixed, run by run."""
    notes = []
    for run in runs:
        for row in run["rows"]:
            parts = [*row["notes"], ", ".join(row["injected"])]
            if any(parts):
                text = "; ".join(part for part in parts if part)
                notes.append(f"**{_name(run)}, {row['title']}**: {text}.")
    return notes


def _name(run: dict[str, Any]) -> str:
    parts = (run["database"], run["broker"])
    return " + ".join(NAMES.get(part, part) for part in parts)


def _table(lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(lines[0])
    return "\n".join(
        "| " + " | ".join(cells) + " |" for cells in (lines[0], rule, *lines[1:])
    )


if __name__ == "__main__":
    main(sys.argv[1:])
