"""The steps of an incident: what was done, what was seen, how long it took."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby

from chaos.environment import PromiseBroken
from chaos.incident.shell import Shell
from shop.terminal import show


@dataclass(slots=True)
class Step:
    """One step.

    Attributes:
        title: what is done.
        lines: the command lines that it took.
        seen: what came of it.
        said: lines that a command printed.
        seconds: how long it took.
    """

    title: str
    lines: list[str] = field(default_factory=list)
    seen: str = ""
    said: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Steps:
    """All steps so far."""

    shell: Shell
    done: list[Step] = field(default_factory=list)

    @contextmanager
    def __call__(self, title: str) -> Iterator[Step]:
        """Time what is done in this context, and print the step after it."""
        step = Step(title)
        first, started = len(self.shell.lines), time.monotonic()
        yield step
        step.seconds = time.monotonic() - started
        step.lines = self.shell.lines[first:]
        self.done.append(step)
        show(f"  {step.seconds:>6.1f} s  {step.title}: {step.seen}")
        for line in step.lines:
            show(f"            $ {line}")
        for line in step.said:
            show(f"              {line}")


def expect(condition: object, text: str) -> None:
    """Raise if a condition does not hold; ``text`` says what was seen instead."""
    if not condition:
        raise PromiseBroken(text)


def markdown(steps: Sequence[Step]) -> str:
    """Return the table of the steps, and their command lines, as Markdown."""
    rows = ["| step | seen | seconds |", "| --- | --- | --- |"]
    rows += [f"| {s.title} | {s.seen} | {s.seconds:.1f} |" for s in steps]
    every = (_shortened(line) for step in steps for line in step.lines)
    lines = [f"$ {line}" for line, _ in groupby(every)]
    return "\n".join([*rows, "", "```console", *lines, "```", ""])


def _shortened(line: str) -> str:
    """Return a command line without what only a program needs."""
    return shlex.join(word for word in shlex.split(line) if word != "--json")
