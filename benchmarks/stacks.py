"""Whose time it is: sampled stacks, summed up by the package that spent it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

#: Part of a frame's path -> whose it is; the first that fits, from the innermost frame.
OWNERS = (
    ("psycopg", "psycopg, and waiting for PostgreSQL"),
    ("redis/", "redis-py"),
    ("kombu", "Celery"),
    ("celery", "Celery"),
    ("billiard", "Celery"),
    ("django/", "Django"),
    ("benchmarks/", "the receiver"),
    ("signal_tasks/", "signal_tasks"),
)
#: What a child does between two messages.
WAITING = ("_recv (billiard", "wait (billiard", "poll (kombu", "select (")


def read(path: Path) -> Counter[tuple[str, ...]]:
    """Samples by stack, outermost frame first, of a file that py-spy wrote."""
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in path.read_text().splitlines():
        frames, _, count = line.rpartition(" ")
        stacks[tuple(frames.split(";"))] += int(count)
    return stacks


def owner(stack: Iterable[str]) -> str:
    """Who spent it: the innermost frame that belongs to somebody we name."""
    frames = list(stack)
    for frame in reversed(frames):
        if any(frame.startswith(waiting) for waiting in WAITING):
            return "waiting for a message"
        for part, name in OWNERS:
            if part in frame:
                return name
    return "Python"


def shares(stacks: Counter[tuple[str, ...]]) -> dict[str, float]:
    """The share of each owner, largest first."""
    total = sum(stacks.values()) or 1
    counts: Counter[str] = Counter()
    for stack, count in stacks.items():
        counts[owner(stack)] += count
    return {name: count / total for name, count in counts.most_common()}


def inclusive(
    stacks: Counter[tuple[str, ...]], part: str, most: int
) -> list[tuple[str, float]]:
    """Functions of the package ``part`` by the share spent in and below them."""
    total = sum(stacks.values()) or 1
    counts: Counter[str] = Counter()
    for stack, count in stacks.items():
        for name in {_function(frame) for frame in stack if part in frame}:
            counts[name] += count
    return [(name, count / total) for name, count in counts.most_common(most)]


def _function(frame: str) -> str:
    """A frame without its line."""
    name, _, place = frame.partition(" (")
    return f"{name} ({place.rstrip(')').rpartition(':')[0]})"
