"""The output of ``make run`` and ``make demo``."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import TextIO

COLOURS = {"web": 36, "worker": 32, "worker-email": 35, "flower": 33, "redis": 31}


class Screen:
    """Prints the lines of all programs, each with the name of its program."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self.stream = stream
        self.lock = threading.Lock()

    def __call__(self, name: str, line: str) -> None:
        label = f"{name:<12} |"
        if self.stream.isatty():
            label = f"\033[{COLOURS.get(name, 37)}m{label}\033[0m"
        with self.lock:
            write(self.stream, f"{label} {line}")


def show(*lines: str) -> None:
    """Print lines at once."""
    write(sys.stdout, "\n".join(lines))


def write(stream: TextIO, text: str) -> None:
    """Write to a stream; ignore errors, so that a closed terminal cannot block a stop."""
    with suppress(OSError):
        stream.write(f"{text}\n")
        stream.flush()


def frame(lines: Iterable[str]) -> list[str]:
    """Return the lines with a frame around them."""
    kept = list(lines)
    width = max(map(len, kept))
    rule = "+" + "-" * (width + 2) + "+"
    return ["", rule, *(f"| {line:<{width}} |" for line in kept), rule, ""]
