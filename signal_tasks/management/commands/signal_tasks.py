"""``manage.py signal_tasks``: see, relay, replay, discard, prune deliveries."""

from __future__ import annotations

import argparse
import json
import signal
import socket
import threading
import uuid
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from signal_tasks import operations
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.health_report import HealthReport
from signal_tasks.healthcheck import health
from signal_tasks.management import exporting
from signal_tasks.operations import Selection
from signal_tasks.registry.naming import check_name
from signal_tasks.registry.options import Options
from signal_tasks.relay.pruning import prune
from signal_tasks.relay.publishing import PassResult
from signal_tasks.relay.relay import Relay
from signal_tasks.states import Reason, State
from signal_tasks.telemetry import recording


class Command(BaseCommand):
    """One subcommand per verb; each prints what it did."""

    help = "See, relay, replay, discard and prune the deliveries of durable signals."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the subcommands."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        for verb, text in (
            ("list", "signals with their receivers and options"),
            (
                "status",
                "pending deliveries and live workers; exit status 1 if unhealthy",
            ),
        ):
            sub = verbs.add_parser(verb, help=text)
            sub.add_argument("--json", action="store_true", help="print one object")
        relay = verbs.add_parser(
            "relay", help="publish what is due, recover what was lost"
        )
        relay.add_argument("--once", action="store_true", help="one pass, then exit")
        for verb, text in (
            ("replay", "make dead deliveries pending again, with all their attempts"),
            ("discard", "finish pending or dead deliveries without running them"),
        ):
            _add_selection(verbs.add_parser(verb, help=text))
        verbs.add_parser(
            "prune", help="delete what finished longer ago than it is kept"
        )
        inspect = verbs.add_parser(
            "inspect", help="print an event with its deliveries and failures"
        )
        inspect.add_argument("id", type=uuid.UUID, help="of an event or a delivery")
        exporting.add_arguments(verbs.add_parser("exporter", help=exporting.HELP))

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        """Call the verb's method."""
        getattr(self, f"_{verb}")(options)

    def _list(self, options: dict[str, Any]) -> None:
        described = operations.describe_signals()
        if options["json"]:
            self.stdout.write(json.dumps(described, indent=2))
            return
        for name, receivers in described.items():
            self.stdout.write(self.style.MIGRATE_HEADING(name))
            for receiver in receivers:
                chosen = [f"{k}={v}" for k, v in receiver.items() if _is_chosen(k, v)]
                self.stdout.write("  ".join((f"  {receiver['name']}", *chosen)))
            if not receivers:
                self.stdout.write("  (no durable receivers)")

    def _status(self, options: dict[str, Any]) -> None:
        seen = health()
        if options["json"]:
            self.stdout.write(json.dumps(seen, indent=2))
        else:
            self._print_status(seen)
        for problem in seen["problems"]:
            self.stderr.write(problem)
        if not seen["healthy"]:
            raise SystemExit(1)

    def _print_status(self, seen: HealthReport) -> None:
        columns = (*State.values, "orphaned", "parked")
        width = max(map(len, (*seen["receivers"], "all receivers")))
        self.stdout.write(" " * width + "".join(f"{c:>11}" for c in columns))
        rows: list[tuple[str, Mapping[str, Any]]] = [*seen["receivers"].items()]
        rows.append(("all receivers", seen))
        for name, counts in rows:
            numbers = "".join(f"{counts[c]:>11}" for c in columns)
            self.stdout.write(f"{name:<{width}}{numbers}")
        age = seen["oldest_pending_age_s"]
        waiting = "nothing is due" if age is None else f"{age:.1f} s"
        self.stdout.write(f"oldest due delivery waits: {waiting}")
        self.stdout.write(f"workers: {', '.join(seen['workers']) or 'none'}")
        self.stdout.write(
            f"published late by relays in five minutes: {seen['rescued']}"
        )
        for error in seen["broker_errors"]:
            self.stdout.write(f"  the broker failed: {error}")

    def _relay(self, options: dict[str, Any]) -> None:
        relay = Relay(f"relay@{socket.gethostname()}")
        if options["once"]:
            for database, result in relay.run_once().items():
                self.stdout.write(f"{database}: {_shown(result)}")
            relay.close()
            return
        recording.start()
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        self.stdout.write("relay running; stop it with SIGTERM or Ctrl-C")
        relay.run_forever(stop)

    def _exporter(self, options: dict[str, Any]) -> None:
        exporting.run(self, options)

    def _replay(self, options: dict[str, Any]) -> None:
        self._change(operations.replay, "replayed", options)

    def _discard(self, options: dict[str, Any]) -> None:
        self._change(operations.discard, "discarded", options)

    def _change(self, open_operation: Any, done: str, options: dict[str, Any]) -> None:
        """Open the operation and work at it for a while; relays go on with the rest."""
        selection, dry_run = _selection(options), options["dry_run"]
        operation = open_operation(
            selection, dry_run=dry_run, everything=options["all"]
        )
        changed = operation.total if dry_run else operation.work_off().done
        would = "would be " if dry_run else ""
        what = "delivery" if changed == 1 else "deliveries"
        self.stdout.write(f"{changed} {what} {would}{done}")
        if not dry_run and operation.is_open:
            self.stdout.write(f"relays go on: operation {operation.id}")

    def _prune(self, options: dict[str, Any]) -> None:
        total = sum(prune(database) for database in outbox_aliases())
        self.stdout.write(f"{total} deliveries pruned")

    def _inspect(self, options: dict[str, Any]) -> None:
        found = operations.describe(options["id"])
        if found is None:
            raise CommandError(f"There is no event or delivery {options['id']}.")
        self.stdout.write(json.dumps(found, indent=2))


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", nargs="*", type=uuid.UUID, help="ids of deliveries")
    parser.add_argument("--receiver", type=_name, help="name of a receiver")
    parser.add_argument("--signal", type=_name, help="name of a signal")
    parser.add_argument("--reason", choices=Reason.values, help="why they are dead")
    parser.add_argument("--all", action="store_true", help="without any restriction")
    parser.add_argument("--dry-run", action="store_true", help="only count them")


def _name(text: str) -> str:
    """Return the name, or refuse what no row can hold, such as an empty variable."""
    try:
        check_name(text)
    except ImproperlyConfigured as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _selection(options: dict[str, Any]) -> Selection:
    selection = Selection(
        ids=tuple(options["id"]),
        receiver=options["receiver"],
        signal=options["signal"],
        reason=options["reason"],
    )
    if selection.is_empty and not options["all"]:
        raise CommandError(
            "Which deliveries? Give ids, --receiver, --signal or --reason, or --all."
        )
    return selection


def _is_chosen(option: str, value: Any) -> bool:
    """Return True if the value says more than the default would."""
    default = getattr(Options(), option, [])
    return option != "name" and value != default


def _shown(result: PassResult) -> str:
    return (
        f"{result.published} published, {result.recovered} recovered, "
        f"{result.orphaned} orphaned, {result.parked} parked, {result.pruned} pruned"
    )
