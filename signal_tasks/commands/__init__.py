"""The verbs of ``manage.py signal_tasks``, a module for each family.

Each verb reads its arguments, calls ``operations`` or ``health``, and prints.
"""

from __future__ import annotations

from signal_tasks.commands import maintain, repair, show, tracking
from signal_tasks.commands.output import Output
from signal_tasks.commands.verb import Verb

__all__ = ["VERBS", "Output", "Verb"]

#: The verbs by their names, in the order in which ``--help`` lists them.
VERBS: dict[str, Verb] = {
    verb.name: verb
    for family in (show, repair, tracking, maintain)
    for verb in family.VERBS
}
