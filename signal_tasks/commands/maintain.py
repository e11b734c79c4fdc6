"""Verbs of upkeep: the relay, and what is kept."""

from __future__ import annotations

import signal
import socket
import threading
from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import asdict

from signal_tasks.commands.arguments import as_json
from signal_tasks.commands.output import Output, deliveries
from signal_tasks.commands.verb import Given, verb
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.relay.pruning import prune as prune_database
from signal_tasks.relay.publishing import PassResult
from signal_tasks.relay.relay import Relay
from signal_tasks.telemetry import recording


def _once(parser: ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="one pass, then exit")


@verb("relay", "publish what is due, recover what was lost", _once, as_json)
def relay(out: Output, given: Given) -> None:
    """Run a relay until SIGTERM, or for one pass."""
    running = Relay(f"relay@{socket.gethostname()}")
    if given["once"]:
        with recording.started():
            results = running.run_once()
        running.close()
        _say(out, results, as_json=given["json"])
        return
    recording.start()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    out.say("relay running; stop it with SIGTERM or Ctrl-C")
    running.run_forever(stop)


def _say(out: Output, results: Mapping[str, PassResult], *, as_json: bool) -> None:
    if as_json:
        out.json({database: asdict(result) for database, result in results.items()})
        return
    for database, result in results.items():
        out.say(f"{database}: {_shown(result)}")


def _shown(result: PassResult) -> str:
    return (
        f"{result.published} published, {result.recovered} recovered, "
        f"{result.orphaned} orphaned, {result.parked} parked, {result.pruned} pruned"
    )


@verb("prune", "delete what finished longer ago than it is kept", as_json)
def prune(out: Output, given: Given) -> None:
    """Prune every outbox."""
    total = sum(prune_database(database) for database in outbox_aliases())
    if given["json"]:
        out.json({"pruned": total})
    else:
        out.say(f"{deliveries(total)} pruned")


VERBS = (relay, prune)
