"""A verb of the command: its name, help, arguments, and the function that runs it."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from signal_tasks.commands.output import Output

#: The arguments of a verb as argparse has read them.
Given = dict[str, Any]
Run = Callable[[Output, Given], None]
Arguments = Callable[[ArgumentParser], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One verb of the command."""

    name: str
    help: str
    arguments: tuple[Arguments, ...]
    run: Run
    #: False for a verb that tells of the project's checks by itself.
    checks: bool = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the arguments of this verb."""
        for add in self.arguments:
            add(parser)


def verb(
    name: str, text: str, *arguments: Arguments, checks: bool = True
) -> Callable[[Run], Verb]:
    """Make a verb of a function; each of ``arguments`` adds some to its parser."""

    def decorate(run: Run) -> Verb:
        return Verb(name=name, help=text, arguments=arguments, run=run, checks=checks)

    return decorate
