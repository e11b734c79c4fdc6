"""The output of a verb: lines of text, tables, JSON, warnings."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol

from django.core.management.base import OutputWrapper

#: Columns that lines fit into where there is no terminal, or a narrower one.
WIDTH = 80


class Streams(Protocol):
    """The part of Django's command that verbs need."""

    stdout: OutputWrapper
    stderr: OutputWrapper
    style: Any


class Output:
    """The streams of a command."""

    #: Progress is not printed, since a program reads the result.
    is_silent = False

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self.style = streams.style

    @property
    def is_terminal(self) -> bool:
        """True if somebody looks at it, and no program reads it."""
        return self._streams.stdout.isatty()

    def say(self, text: str = "") -> None:
        """Print a line."""
        with until_the_reader_leaves():
            self._streams.stdout.write(text)

    def warn(self, text: str) -> None:
        """Print a line to the standard error stream."""
        self._streams.stderr.write(text)

    def json(self, value: Any) -> None:
        """Print a value as JSON."""
        self.say(json.dumps(value, indent=2, default=_plain))

    def details(self, *texts: str) -> None:
        """Print lines that belong to the line before, cut to the terminal."""
        columns = shutil.get_terminal_size().columns if self.is_terminal else WIDTH
        for text in filter(None, texts):
            self.say(f"  {cut(text, max(columns, WIDTH) - 2)}")


@contextmanager
def until_the_reader_leaves() -> Iterator[None]:
    """End the process without a traceback if nobody reads its output any more.

    ``head`` leaves when it has seen enough. Python would complain again when it writes
    the rest at its end.
    """
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def cut(text: str, width: int) -> str:
    """Return the text in one line of at most ``width`` characters.

    What would steer the terminal is left out.
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= width else f"{line[: width - 3]}..."


def count(number: int, singular: str, plural: str) -> str:
    """Return a number with its noun."""
    return f"{number} {singular if number == 1 else plural}"


def deliveries(number: int) -> str:
    """Return a number of deliveries."""
    return count(number, "delivery", "deliveries")


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
