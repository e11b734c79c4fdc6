"""Verbs that change many deliveries: replay, discard, backfill."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from signal_tasks import operations
from signal_tasks.commands import arguments, following, names, times
from signal_tasks.commands.output import Output, deliveries
from signal_tasks.commands.verb import Given, verb
from signal_tasks.operations import Operation

FOLLOWING = (arguments.waiting, arguments.as_json)


def _rate(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--rate", metavar="RATE", help='deliveries a second, or text as "100/m"'
    )


@verb(
    "replay",
    "make dead deliveries pending again, with all their attempts",
    arguments.selection,
    arguments.pace,
    arguments.selecting,
    *FOLLOWING,
)
def replay(out: Output, given: Given) -> None:
    """Replay the selected deliveries."""
    selection = arguments.restricted(given)

    def order(**options: Any) -> Operation:
        canary, everything = given["canary"], given["all"]
        return operations.replay(
            selection, canary=canary, everything=everything, **options
        )

    _run(out, given, order)


@verb(
    "discard",
    "finish pending or dead deliveries without running them",
    arguments.selection,
    _rate,
    arguments.selecting,
    *FOLLOWING,
)
def discard(out: Output, given: Given) -> None:
    """Discard the selected deliveries."""
    selection = arguments.restricted(given)

    def order(**options: Any) -> Operation:
        return operations.discard(selection, everything=given["all"], **options)

    _run(out, given, order)


def _past_events(parser: ArgumentParser) -> None:
    add = parser.add_argument
    name, time = arguments.name, times.ago
    add("--receiver", type=name, required=True, metavar="NAME", help="that gets them")
    since = "events that were sent since then: a time, or an age such as 2h"
    add("--since", type=time, required=True, metavar="TIME", help=since)
    add("--until", type=time, metavar="TIME", help="events that were sent before then")
    add("--signal", type=name, metavar="NAME", help="events of this signal only")
    add("--dry-run", action="store_true", help="only count them")


@verb(
    "backfill",
    "deliver past events to a receiver that was connected later",
    _past_events,
    arguments.pace,
    arguments.explained,
    *FOLLOWING,
)
def backfill(out: Output, given: Given) -> None:
    """Backfill past events to a receiver."""
    names.check_receiver(given["receiver"])
    if given["signal"] is not None:
        names.check_signal(given["signal"])

    def order(**options: Any) -> Operation:
        selected = {name: given[name] for name in ("since", "until", "signal")}
        return operations.backfill(
            given["receiver"], canary=given["canary"], **selected, **options
        )

    _run(out, given, order)


def _run(out: Output, given: Given, order: Callable[..., Operation]) -> None:
    """Open an operation; work a small one off, leave a large one to relays."""
    out.is_silent = given["json"]
    options = {"rate": given["rate"], **arguments.act(given)}
    with arguments.refusals():
        plan = order(dry_run=True, **options)
        if given["dry_run"] or not plan.total:
            _say_plan(out, plan, given)
            return
        operation = order(**options)
        is_small = plan.total <= following.AT_ONCE
        if is_small and not operation.canary and not operation.rate:
            operation.work_off(following.WORK_SECONDS)
        if given["wait"]:
            following.follow(out, operation, given["timeout"])
    if operation.is_open:
        _say_how_to_follow(out, operation, plan, as_json=given["json"])
    else:
        following.end(out, operation, as_json=given["json"])


def _say_plan(out: Output, plan: Operation, given: Given) -> None:
    if given["json"]:
        out.json({**following.described(plan), "id": None, "dry_run": given["dry_run"]})
        return
    would = "would be " if given["dry_run"] else ""
    out.say(f"{deliveries(plan.total or 0)} {would}{following.PAST[plan.kind]}")


def _say_how_to_follow(
    out: Output, operation: Operation, plan: Operation, *, as_json: bool
) -> None:
    if as_json:
        out.json(following.described(operation))
    else:
        steps = ", in the steps of a canary" if operation.canary else ""
        out.say(f"operation {operation.id}: {deliveries(plan.total or 0)}{steps}")
        out.say(f"follow it: {following.COMMAND} operations {operation.id} --wait")
    if sentence := following.missing_relay(operation):
        out.warn(sentence)


VERBS = (replay, discard, backfill)
