"""``python -m chaos.scenarios``: run the shop, inject faults, check its invariants."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chaos.scenarios.runner import InvariantsViolated, run
from shop.demo import UNSET
from shop.servers import ServerError
from shop.stack import StackError, Stopped
from shop.terminal import show

SECONDS, SHORT = 60.0, 15.0


def main() -> int:
    """Run the scenario; return 1 if an invariant is violated or the run failed."""
    arguments = _arguments()
    for name in UNSET:
        os.environ.pop(name, None)
    seconds = SHORT if arguments.short else arguments.seconds
    try:
        with _folder_kept_on_failure() as folder:
            run(folder, arguments.seed, seconds)
    except InvariantsViolated:
        show("An invariant was violated.")
        return 1
    except (StackError, ServerError, Stopped) as error:
        sys.stderr.write(f"The scenario did not finish. {error}\n")
        return 1
    show("All invariants hold.")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m chaos.scenarios", description=__doc__
    )
    add = parser.add_argument
    add("--seed", default="1", help="the same seed makes the same schedule of faults")
    add("--seconds", type=float, default=SECONDS, help="how long faults are injected")
    add("--short", action="store_true", help=f"each fault once, in {SHORT:.0f} s")
    return parser.parse_args()


@contextmanager
def _folder_kept_on_failure() -> Iterator[Path]:
    """Yield a temporary folder; delete it unless an exception was raised."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-scenarios-"))
    try:
        yield folder
    except BaseException:
        show(f"  The log is in {folder / 'stack.log'}.")
        raise
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
