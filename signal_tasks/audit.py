"""The audit trail: an entry for everything that an operator did."""

from __future__ import annotations

import shlex
import uuid
from dataclasses import dataclass
from typing import Any

from signal_tasks.models import AuditEntry
from signal_tasks.models.operations import MAX_BY

#: Longest ``verb``, in characters.
MAX_VERB = 16
#: What operators do, as the entries name it.
VERBS = (
    "replay",
    "discard",
    "backfill",
    "cancel",
    "pause",
    "resume",
    "limit",
    "clear",
    "acknowledge",
    "annotate",
    "skip",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something that an operator does: who, to what, and why.

    ``command`` is the line of ``manage.py signal_tasks`` that does the same.
    """

    verb: str
    target: str
    by: str = ""
    reason: str = ""
    operation_id: uuid.UUID | None = None
    command: str = ""

    @classmethod
    def on(
        cls, verb: str, target: str, *, by: Any, reason: str, **options: object
    ) -> Act:
        """Return the act of a command that takes a target, with these options.

        Raises:
            TypeError: ``by`` is neither a user nor a name.
        """
        who = name_of(by)
        command = command_line(verb, target, **options, reason=reason, by=who)
        return cls(verb=verb, target=target, by=who, reason=reason, command=command)


def record(act: Act, *, database: str) -> None:
    """Write the entry of an act, in the transaction that is open on the database."""
    AuditEntry.objects.using(database).create(
        verb=act.verb[:MAX_VERB],
        target=act.target,
        by=act.by[:MAX_BY],
        reason=act.reason,
        operation_id=act.operation_id,
        command=act.command,
    )


def name_of(by: Any) -> str:
    """Return the name of who acts: of a user, a text as it is, "" for None.

    Raises:
        TypeError: it is neither.
    """
    if by is None or isinstance(by, str):
        return (by or "")[:MAX_BY]
    if hasattr(by, "get_username"):
        return str(by.get_username())[:MAX_BY]
    raise TypeError(f"by is {by!r}; give a user or a name")


def command_line(verb: str, *targets: str, **options: object) -> str:
    """Return the command for an act; options that are None, empty or False are left out."""
    words = ["manage.py", "signal_tasks", verb, *targets]
    for name, value in options.items():
        if value is None or value is False or value == "":
            continue
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words.append(str(value))
    return shlex.join(words)
