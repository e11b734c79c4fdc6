"""``python -m chaos``: start everything, inject faults, and report the results."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from chaos.runner import Options, run


def main() -> int:
    """Run the suite as the arguments say; return 1 if a promise was broken."""
    return run(Options(**vars(_arguments())))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    add = parser.add_argument
    add("--database", default="postgres", help="sqlite, postgres, mariadb, or a URL")
    add("--broker", default="redis", help="redis, rabbitmq, rabbitmq-classic, or a URL")
    add("--seed", default="1", help="the same seed makes the same schedule of faults")
    add("--events", type=int, default=2000, help="fewest events in all; 0: none mixed")
    add("--faults", type=_names, default=[], help="names or groups, with commas")
    add("--short", action="store_true", help="fewer faults, fewer events")
    add("--mutation", default="", help="break the engine; the run has to fail")
    add("--markdown", type=Path, help="write the table to this file")
    add("--json", type=Path, help="write the results to this file, as JSON")
    add("--list", action="store_true", help="list the faults and exit")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    return [] if text == "all" else [name.strip() for name in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
