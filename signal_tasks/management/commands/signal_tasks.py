"""``manage.py signal_tasks``: see, steer and repair deliveries; run a relay."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from signal_tasks.commands import VERBS, Output
from signal_tasks.commands.output import until_the_reader_leaves


class Command(BaseCommand):
    """One subcommand per verb; each prints what it did."""

    help = "See, steer and repair the deliveries of durable signals; run a relay."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the subcommands."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        for verb in VERBS.values():
            verb.add_arguments(verbs.add_parser(verb.name, help=verb.help))

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Leave out the system checks before a verb that runs them itself."""
        if not VERBS[options["verb"]].checks:
            options["skip_checks"] = True
        return super().execute(*args, **options)

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        """Run the verb."""
        VERBS[verb].run(Output(self), options)
        with until_the_reader_leaves():
            self.stdout.flush()
