"""The line of ``manage.py signal_tasks`` that does what a page offers."""

from __future__ import annotations

from signal_tasks.audit import command_line
from signal_tasks.selection import Selection


def changing(verb: str, selection: Selection, **options: object) -> str:
    """Return the command that replays or discards what a selection is for."""
    given: dict[str, object] = {**selection.options(), **options}
    ids = [str(pk) for pk in selection.ids]
    return command_line(verb, *ids, **given, all=selection.is_empty)


def backfilling(receiver: str) -> str:
    """Return the command that delivers past events to a receiver."""
    return command_line("backfill", receiver=receiver, since="3d")


def steering(verb: str, target: str, **options: object) -> str:
    """Return the command that pauses, resumes, limits or clears a target."""
    return command_line(verb, target, **options)


def tracking(operation: object, verb: str = "") -> str:
    """Return the command that shows, cancels or resumes an operation."""
    return command_line("operations", str(operation), **({verb: True} if verb else {}))


def noting(fingerprint: str) -> str:
    """Return the command that writes a note on a failure group."""
    return command_line("note", fingerprint, "TEXT")


def skipping(pk: object) -> str:
    """Return the command that lets those run that wait behind a dead letter."""
    return command_line("skip", str(pk))


def acknowledging() -> str:
    """Return the command that says that the dead letters were seen."""
    return command_line("acknowledge")


def inspecting(pk: object) -> str:
    """Return the command that prints an event or a delivery."""
    return command_line("inspect", str(pk))
