"""``manage.py signal_tasks``: see, steer and repair deliveries; run a relay."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError

from signal_tasks.commands import VERBS, Output
from signal_tasks.commands.output import until_the_reader_leaves
from signal_tasks.error_text import one_line, text_of


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
        """Run the verb. A database that is down is a line, not a traceback."""
        try:
            VERBS[verb].run(Output(self), options)
        except (InterfaceError, OperationalError) as error:
            raise CommandError(
                "a database does not answer, or has given up: "
                f"{one_line(text_of(error))} (--traceback tells more)"
            ) from error
        with until_the_reader_leaves():
            self.stdout.flush()
