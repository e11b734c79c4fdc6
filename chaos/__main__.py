"""``python -m chaos``: start everything, make the faults, print what came of it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from chaos.runner import Plan, perform


def main() -> int:
    """Run what the arguments ask for; 1 when a promise was broken."""
    return perform(Plan(**vars(_arguments())))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    add = parser.add_argument
    add("--database", default="postgres", help="sqlite, postgres, mariadb, or a URL")
    add("--broker", default="redis", help="redis, rabbitmq, rabbitmq-classic, or a URL")
    add("--seed", default="1", help="the same seed makes the same schedule of faults")
    add("--events", type=int, default=2000, help="events in all, at least")
    add("--faults", type=_names, default=[], help="names or groups, by commas")
    add("--short", action="store_true", help="each fault alone, fewer events")
    add("--mutation", default="", help="break the engine, to see that it is noticed")
    add("--markdown", type=Path, help="a file for the table")
    add("--json", type=Path, help="a file for the table, for programs")
    add("--list", action="store_true", help="only say which faults there are")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    return [] if text == "all" else [name.strip() for name in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
