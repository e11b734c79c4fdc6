"""Sampled stacks, summed up by the package that used the time."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

Stacks = Counter[tuple[str, ...]]

#: Part of a frame's path, and its owner; the innermost frame that matches decides.
OWNERS = (
    ("psycopg", "psycopg"),
    ("redis/", "redis-py"),
    ("kombu", "Celery"),
    ("celery", "Celery"),
    ("billiard", "Celery"),
    ("django/", "Django"),
    ("benchmarks/", "the project"),
    ("signal_tasks/", "signal_tasks"),
)


def spy(pid: int, path: Path, rate: int = 150) -> subprocess.Popen[bytes]:
    """Sample a process until a SIGINT; py-spy leaves out threads that sleep."""
    program = Path(sys.executable).with_name("py-spy")
    rates = ("-r", str(rate), "-d", "600", "--nonblocking")
    return subprocess.Popen(  # noqa: S603 -- the command is ours
        [program, "record", "-p", str(pid), "-f", "raw", *rates, "-o", str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def read(path: Path) -> Stacks:
    """Return the samples of a file of py-spy by stack, outermost frame first."""
    stacks: Stacks = Counter()
    for line in path.read_text().splitlines() if path.exists() else ():
        frames, _, count = line.rpartition(" ")
        stacks[tuple(frames.split(";"))] += int(count)
    return stacks


def owner(stack: Iterable[str]) -> str:
    """Return the owner of the innermost frame that has one."""
    for frame in reversed(list(stack)):
        for part, name in OWNERS:
            if part in frame:
                return name
    return "Python"


def shares(stacks: Stacks) -> dict[str, float]:
    """Return the share of each owner, largest first."""
    total = sum(stacks.values()) or 1
    counts: Counter[str] = Counter()
    for stack, count in stacks.items():
        counts[owner(stack)] += count
    return {name: count / total for name, count in counts.most_common()}


def inclusive(stacks: Stacks, part: str, most: int) -> list[tuple[str, float]]:
    """Return the functions of the package ``part`` by the share used in and below them."""
    total = sum(stacks.values()) or 1
    counts: Counter[str] = Counter()
    for stack, count in stacks.items():
        for name in {_function(frame) for frame in stack if part in frame}:
            counts[name] += count
    return [(name, count / total) for name, count in counts.most_common(most)]


def _function(frame: str) -> str:
    """Return a frame without its line."""
    name, _, place = frame.partition(" (")
    return f"{name} ({place.rstrip(')').rpartition(':')[0]})"
