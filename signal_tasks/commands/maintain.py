"""Verbs of upkeep: the relay, and what is kept."""

from __future__ import annotations

import signal
import socket
import threading
from argparse import ArgumentParser

from signal_tasks.commands.output import Output
from signal_tasks.commands.verb import Given, verb
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.relay.pruning import prune as prune_database
from signal_tasks.relay.publishing import PassResult
from signal_tasks.relay.relay import Relay


def _once(parser: ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="one pass, then exit")


@verb("relay", "publish what is due, recover what was lost", _once)
def relay(out: Output, given: Given) -> None:
    """Run a relay until SIGTERM, or for one pass."""
    running = Relay(f"relay@{socket.gethostname()}")
    if given["once"]:
        for database, result in running.run_once().items():
            out.say(f"{database}: {_shown(result)}")
        running.close()
        return
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    out.say("relay running; stop it with SIGTERM or Ctrl-C")
    running.run_forever(stop)


def _shown(result: PassResult) -> str:
    return (
        f"{result.published} published, {result.recovered} recovered, "
        f"{result.orphaned} orphaned, {result.parked} parked, {result.pruned} pruned"
    )


@verb("prune", "delete what finished longer ago than it is kept")
def prune(out: Output, given: Given) -> None:
    """Prune every outbox."""
    total = sum(prune_database(database) for database in outbox_aliases())
    out.say(f"{total} deliveries pruned")


VERBS = (relay, prune)
