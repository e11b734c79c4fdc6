"""Verbs that change deliveries."""

from __future__ import annotations

from signal_tasks import operations
from signal_tasks.commands.arguments import selected, selection
from signal_tasks.commands.output import Output
from signal_tasks.commands.verb import Given, verb


@verb(
    "replay", "make dead deliveries pending again, with all their attempts", selection
)
def replay(out: Output, given: Given) -> None:
    """Replay the selected deliveries."""
    changed = operations.replay(selected(given), dry_run=given["dry_run"])
    _say_changed(out, changed, "replayed", dry_run=given["dry_run"])


@verb("discard", "finish pending or dead deliveries without running them", selection)
def discard(out: Output, given: Given) -> None:
    """Discard the selected deliveries."""
    changed = operations.discard(selected(given), dry_run=given["dry_run"])
    _say_changed(out, changed, "discarded", dry_run=given["dry_run"])


def _say_changed(out: Output, changed: int, done: str, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    what = "delivery" if changed == 1 else "deliveries"
    out.say(f"{changed} {what} {would}{done}")


VERBS = (replay, discard)
