"""Verbs of ordered receivers: what blocks a key, and the way past it."""

from __future__ import annotations

import uuid
from argparse import ArgumentParser
from dataclasses import asdict

from signal_tasks import operations
from signal_tasks.commands import arguments, names, times
from signal_tasks.commands.output import Output, deliveries
from signal_tasks.commands.verb import Given, verb
from signal_tasks.operations import BlockedKey

COMMAND = "manage.py signal_tasks"


def _receiver(parser: ArgumentParser) -> None:
    text = "keys of this receiver only"
    parser.add_argument("--receiver", type=arguments.name, metavar="NAME", help=text)


@verb(
    "blocked",
    "list keys of ordered receivers in which nothing runs, and what blocks them",
    _receiver,
    arguments.limited,
    arguments.as_json,
)
def blocked(out: Output, given: Given) -> None:
    """List blocked keys."""
    receiver = given["receiver"]
    if receiver is not None:
        names.check_receiver(receiver)
    keys = operations.blocked_keys(receiver=receiver, limit=given["limit"])
    if given["json"]:
        out.json([asdict(key) for key in keys])
        return
    for key in keys:
        _say(out, key)
    if not keys:
        out.say("no key is blocked")
    elif any(key.state == "dead" for key in keys):
        out.say(f"replay it, or let the others pass: {COMMAND} skip ID")


def _say(out: Output, key: BlockedKey) -> None:
    out.say(
        f"{key.delivery_id}  {times.shown(key.since)}  {key.state} {key.reason}".rstrip()
    )
    waiting = f"{deliveries(key.waiting)} behind it"
    out.details(f"{key.receiver} {key.key}", waiting, key.error)


def _ids(parser: ArgumentParser) -> None:
    parser.add_argument("id", nargs="+", type=uuid.UUID, help="ids of dead letters")


@verb(
    "skip",
    "let those run that wait behind a dead letter of an ordered receiver",
    _ids,
    arguments.explained,
    arguments.as_json,
)
def skip(out: Output, given: Given) -> None:
    """Skip dead letters."""
    names.check_ids(given["id"])
    for pk in given["id"]:
        with arguments.refusals():
            operations.skip(pk, **arguments.act(given))
        if not given["json"]:
            out.say(f"{pk} is skipped; it stays dead")
    if given["json"]:
        out.json({"skipped": [str(pk) for pk in given["id"]]})


VERBS = (blocked, skip)
