"""The verb that looks for problems and tells of them, for cron."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import asdict, dataclass, field
from typing import Any

from django.core.management.base import CommandError
from django.db import Error
from django.utils import timezone

from signal_tasks.alert import Alert, AlertOptions
from signal_tasks.alerting import rounds, state
from signal_tasks.alerting.channels import channels
from signal_tasks.alerting.sending import Sending
from signal_tasks.commands.arguments import as_json
from signal_tasks.commands.output import Output, count
from signal_tasks.commands.verb import Given, verb
from signal_tasks.conf import settings
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.db.timeouts import TooSlow
from signal_tasks.error_text import line_of
from signal_tasks.models import OpenAlert


@dataclass(slots=True)
class Result:
    """The problems that were found, and the messages that went out about them.

    ``unread`` are outboxes that could not be looked at.
    """

    problems: list[dict[str, Any]] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    unread: list[dict[str, str]] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """True if nothing is wrong, as far as anybody can see."""
        return not (self.problems or self.failed or self.unread)

    def add(self, sending: Sending) -> None:
        """Add what came of a channel."""
        name = sending.channel.name
        self.told += [{"channel": name, **asdict(due.alert)} for due in sending.told]
        if error := sending.failure():
            self.failed.append({"channel": name, "error": line_of(error)})


def _test(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--test", action="store_true", help="send a message to try it, and nothing else"
    )


@verb(
    "alerts",
    "tell of problems now, for cron; exit status 1 if there is one",
    _test,
    as_json,
)
def alerts(out: Output, given: Given) -> None:
    """Look for problems, tell whom the setting names, and print both."""
    options = settings().ALERTS
    if options is None:
        raise CommandError(
            "SIGNAL_TASKS['ALERTS'] names nobody to be told. For what is wrong now: "
            "manage.py signal_tasks status"
        )
    result = Result()
    if given["test"]:
        _try(options, result)
    else:
        for database in outbox_aliases():
            try:
                _run(options, database, result)
            except (Error, TooSlow) as error:
                result.unread.append({"database": database, "error": line_of(error)})
    if given["json"]:
        out.json(asdict(result))
    else:
        _print(out, result)
    if not result.is_well:
        raise SystemExit(1)


def _run(options: AlertOptions, database: str, result: Result) -> None:
    found = state.look(database)
    for problem in found.values():
        result.problems.append(
            {
                "kind": str(problem.kind),
                "subject": problem.subject,
                "database": database,
                "text": problem.text,
                "url": state.link(problem.page, options, database),
            }
        )
    for sending in rounds.run_once(found, options, database):
        result.add(sending)


def _try(options: AlertOptions, result: Result) -> None:
    """Tell each channel that this is a test."""
    alert = Alert(
        kind="test",
        subject="",
        database=outbox_aliases()[0],
        text="Nothing is wrong: somebody has tried whether alerts arrive.",
        url=options.URL,
        since=timezone.now(),
        is_over=False,
    )
    test = state.Due(alert=alert, row=OpenAlert(), problem=None)
    for channel in channels(options):
        sending = Sending(channel, [test])
        sending.wait(rounds.SEND_SECONDS)
        result.add(sending)


def _print(out: Output, result: Result) -> None:
    for problem in result.problems:
        out.warn(problem["text"])
    for each in result.told:
        over = "over: " if each["is_over"] else ""
        out.say(
            f"told {each['channel']}: {over}{each['kind']} {each['subject']}".rstrip()
        )
    for each in result.failed:
        out.warn(f"could not tell {each['channel']}: {each['error']}")
    for each in result.unread:
        out.warn(f"could not look at {each['database']!r}: {each['error']}")
    out.say(
        f"{count(len(result.problems), 'problem', 'problems')}, "
        f"{count(len(result.told), 'message', 'messages')} sent"
    )


VERBS = (alerts,)
