"""``python -m chaos.stories``: open the shop, break it, and compare its books."""

from __future__ import annotations

import argparse
import os
import sys

from chaos.stories.play import Unbalanced, perform
from shop.demo import OWN, stage
from shop.servers import ServerError
from shop.stack import StackError, Stopped
from shop.terminal import show

SECONDS, SHORT = 60.0, 15.0


def main() -> int:
    """Do what the arguments ask for; 1 when the books do not balance."""
    parser = argparse.ArgumentParser(
        prog="python -m chaos.stories", description=__doc__
    )
    add = parser.add_argument
    add("--seed", default="1", help="the same seed plans the same faults")
    add("--seconds", type=float, default=SECONDS, help="how long something breaks")
    add("--short", action="store_true", help=f"each fault once, in {SHORT:.0f} s")
    asked = parser.parse_args()
    for name in OWN:
        os.environ.pop(name, None)
    try:
        with stage() as folder:
            seconds = SHORT if asked.short else asked.seconds
            perform(folder, asked.seed, seconds)
    except Unbalanced:
        show("The books do not balance.")
        return 1
    except (StackError, ServerError, Stopped) as error:
        sys.stderr.write(f"The shop was not played to its end. {error}\n")
        return 1
    show("The books balance.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
