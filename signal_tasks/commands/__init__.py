"""The verbs of ``manage.py signal_tasks``, a module for each family.

Each verb reads its arguments, calls ``operations`` or ``health``, and prints.
"""

from __future__ import annotations

from signal_tasks.commands import (
    alerts,
    develop,
    diagnose,
    export,
    failures,
    maintain,
    ordering,
    repair,
    show,
    steer,
    tracking,
)
from signal_tasks.commands.output import Output
from signal_tasks.commands.verb import Verb

__all__ = ["VERBS", "Output", "Verb"]

FAMILIES = (
    diagnose,
    develop,
    show,
    failures,
    steer,
    ordering,
    repair,
    tracking,
    maintain,
    alerts,
    export,
)
#: The verbs by their names, in the order in which ``--help`` lists them.
VERBS: dict[str, Verb] = {
    verb.name: verb for family in FAMILIES for verb in family.VERBS
}
