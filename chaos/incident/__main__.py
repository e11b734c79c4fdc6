"""``python -m chaos.incident``: run the incident, print its steps, check the end."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from chaos.incident.runner import run
from shop.servers import ServerError
from shop.terminal import show


def main() -> int:
    """Run the incident; return 1 if a promise was broken."""
    arguments = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="chaos-incident-"))
    try:
        kept = run(folder, short=arguments.short, markdown=arguments.markdown)
    except ServerError as error:
        raise SystemExit(f"It cannot run on this machine: {error}") from error
    if not kept:
        show(f"The logs and the journal are in {folder}.", "A promise was broken.")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    show("All well.")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m chaos.incident", description=__doc__
    )
    add = parser.add_argument
    add("--short", action="store_true", help="fewer deliveries, shorter times")
    add("--markdown", type=Path, help="write the table of the steps to this file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
