"""``manage.py signal_tasks``: see, relay, replay, discard, prune deliveries."""

from __future__ import annotations

import argparse
import json
import signal
import socket
import threading
import uuid
from dataclasses import fields
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from signal_tasks.dispatch import AsyncSignal, all_signals
from signal_tasks.models import Delivery, Event
from signal_tasks.outbox import aliases
from signal_tasks.querysets import DeliveryQuerySet
from signal_tasks.registry import Options
from signal_tasks.relay import Passage, Relay
from signal_tasks.retention import prune
from signal_tasks.retry import RetryPolicy
from signal_tasks.states import Reason, State
from signal_tasks.status import status


class Command(BaseCommand):
    """One subcommand per verb; each prints what it did."""

    help = "See, relay, replay, discard and prune the deliveries of durable signals."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the subcommands."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        for verb, text in (
            ("list", "signals with their receivers and options"),
            ("status", "what is owed and who is at work; exit status 1 if unhealthy"),
        ):
            sub = verbs.add_parser(verb, help=text)
            sub.add_argument("--json", action="store_true", help="print one object")
        relay = verbs.add_parser("relay", help="publish and recover what is owed")
        relay.add_argument("--once", action="store_true", help="one pass, then end")
        for verb, text in (
            ("replay", "owe dead deliveries again, with all their attempts"),
            ("discard", "end pending or dead deliveries without running them"),
        ):
            _add_selection(verbs.add_parser(verb, help=text))
        verbs.add_parser("prune", help="delete what ended longer ago than it is kept")
        inspect = verbs.add_parser("inspect", help="print all about an event")
        inspect.add_argument("id", type=uuid.UUID, help="of an event or a delivery")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        """Call the verb's method."""
        getattr(self, f"_{verb}")(options)

    def _list(self, options: dict[str, Any]) -> None:
        described: dict[str, list[dict[str, Any]]] = {}
        for each in all_signals():
            described.setdefault(each.name, []).extend(_described(each))
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
        seen = status()
        if options["json"]:
            shown = {k: v for k, v in seen.items() if k not in ("healthy", "problems")}
            self.stdout.write(json.dumps(shown, indent=2))
        else:
            self._print_status(seen)
        for problem in seen["problems"]:
            self.stderr.write(f"unhealthy: {problem}")
        if not seen["healthy"]:
            raise SystemExit(1)

    def _print_status(self, seen: dict[str, Any]) -> None:
        columns = (*State.values, "orphaned")
        width = max(map(len, (*seen["receivers"], "all receivers")))
        self.stdout.write(" " * width + "".join(f"{c:>11}" for c in columns))
        rows = [*seen["receivers"].items(), ("all receivers", seen)]
        for name, counts in rows:
            numbers = "".join(f"{counts[c]:>11}" for c in columns)
            self.stdout.write(f"{name:<{width}}{numbers}")
        age = seen["oldest_pending_age_s"]
        waiting = "nothing is due" if age is None else f"{age:.1f} s"
        self.stdout.write(f"oldest due delivery waits: {waiting}")
        self.stdout.write(f"workers: {', '.join(seen['workers']) or 'none'}")

    def _relay(self, options: dict[str, Any]) -> None:
        relay = Relay(f"relay@{socket.gethostname()}")
        if options["once"]:
            for database, passage in relay.run_once().items():
                self.stdout.write(f"{database}: {_shown(passage)}")
            relay.leave()
            return
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        self.stdout.write("relay running; stop it with SIGTERM or Ctrl-C")
        relay.run_forever(stop)

    def _replay(self, options: dict[str, Any]) -> None:
        self._change(options, "replay", "replayed")

    def _discard(self, options: dict[str, Any]) -> None:
        self._change(options, "discard", "discarded")

    def _change(self, options: dict[str, Any], verb: str, done: str) -> None:
        total = 0
        for database in aliases():
            rows = getattr(_selected(options, database), f"{verb}able")()
            if verb == "replay" and not options["id"]:
                rows = rows.dead()  # what was discarded on purpose is named by its id
            total += rows.count() if options["dry_run"] else getattr(rows, verb)()
        would = "would be " if options["dry_run"] else ""
        what = "delivery" if total == 1 else "deliveries"
        self.stdout.write(f"{total} {what} {would}{done}")

    def _prune(self, options: dict[str, Any]) -> None:
        total = sum(prune(database) for database in aliases())
        self.stdout.write(f"{total} deliveries pruned")

    def _inspect(self, options: dict[str, Any]) -> None:
        for database in aliases():
            events = Event._base_manager.using(database)
            for found in ({"pk": options["id"]}, {"deliveries": options["id"]}):
                if event := events.filter(**found).first():
                    self.stdout.write(json.dumps(_told(event, database), indent=2))
                    return
        raise CommandError(f"There is no event or delivery {options['id']}.")


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", nargs="*", type=uuid.UUID, help="ids of deliveries")
    parser.add_argument("--receiver", help="name of a receiver")
    parser.add_argument("--signal", help="name of a signal")
    parser.add_argument("--reason", choices=Reason.values, help="why they are dead")
    parser.add_argument("--all", action="store_true", help="without any restriction")
    parser.add_argument("--dry-run", action="store_true", help="only count them")


def _selected(options: dict[str, Any], database: str) -> DeliveryQuerySet:
    rows: DeliveryQuerySet = Delivery.objects.using(database).all()
    chosen = {
        "pk__in": options["id"],
        "receiver": options["receiver"],
        "event__signal": options["signal"],
        "reason": options["reason"],
    }
    filters = {key: value for key, value in chosen.items() if value}
    if not filters and not options["all"]:
        raise CommandError(
            "Which deliveries? Give ids, --receiver, --signal or --reason, or --all."
        )
    return rows.filter(**filters)


def _described(each: AsyncSignal) -> list[dict[str, Any]]:
    return [
        {
            "name": connection.receiver.name,
            "aliases": list(connection.receiver.aliases),
            "queue": connection.receiver.options.queue,
            "atomic": connection.receiver.options.atomic,
            "timeout": connection.receiver.options.timeout,
            "rate_limit": connection.receiver.options.rate_limit,
            "on_missing": connection.receiver.options.on_missing,
            "group_commit": connection.receiver.options.group_commit,
            "retry": _policy(connection.receiver.options.retry),
        }
        for connection in each.durable_connections
    ]


def _is_chosen(option: str, value: Any) -> bool:
    """Whether it says more than the default would."""
    default = getattr(Options(), option, [])
    return option != "name" and value != default


def _policy(policy: RetryPolicy | None) -> dict[str, Any] | None:
    if policy is None:
        return None
    facts = {field.name: getattr(policy, field.name) for field in fields(policy)}
    for name in ("retry_on", "give_up_on"):
        facts[name] = [kind.__qualname__ for kind in facts[name]]
    return facts


def _told(event: Event, database: str) -> dict[str, Any]:
    """An event with all that hangs on it, as JSON can say it."""
    return {
        "event": str(event.pk),
        "database": database,
        "signal": event.signal,
        "sent_at": event.sent_at.isoformat(),
        "cause": event.cause_id and str(event.cause_id),
        "headers": event.header_mapping(),
        "payload": _json_or_text(event.payload),
        "deliveries": [
            _told_delivery(delivery)
            for delivery in event.deliveries.order_by("receiver")
        ],
    }


def _told_delivery(delivery: Delivery) -> dict[str, Any]:
    ended = delivery.finished_at
    failures = delivery.failures.values(
        "number", "outcome", "error_type", "error", "worker", "seconds", "traceback"
    )
    return {
        "delivery": str(delivery.pk),
        "receiver": delivery.receiver,
        "state": delivery.state,
        "reason": delivery.reason,
        "attempts": delivery.attempts,
        "orphaned": delivery.orphaned,
        "available_at": delivery.available_at.isoformat(),
        "finished_at": ended and ended.isoformat(),
        "failures": list(failures),
    }


def _json_or_text(payload: str) -> Any:
    try:
        return json.loads(payload)
    except ValueError:
        return payload


def _shown(passage: Passage) -> str:
    return (
        f"{passage.published} published, {passage.recovered} recovered, "
        f"{passage.orphaned} orphaned, {passage.pruned} pruned"
    )
