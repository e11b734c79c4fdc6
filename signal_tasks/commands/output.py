"""What a verb prints to: lines of text, JSON, warnings."""

from __future__ import annotations

import json
from typing import Any, Protocol

from django.core.management.base import OutputWrapper


class Streams(Protocol):
    """The part of Django's command that verbs need."""

    stdout: OutputWrapper
    stderr: OutputWrapper
    style: Any


class Output:
    """The streams of a command."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self.style = streams.style

    def say(self, text: str = "") -> None:
        """Print a line."""
        self._streams.stdout.write(text)

    def warn(self, text: str) -> None:
        """Print a line to the standard error stream."""
        self._streams.stderr.write(text)

    def json(self, value: Any) -> None:
        """Print a value as JSON."""
        self.say(json.dumps(value, indent=2))
