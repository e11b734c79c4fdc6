"""Verbs of what operators did: operations under way, and the audit trail."""

from __future__ import annotations

import uuid
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from signal_tasks import operations
from signal_tasks.commands import arguments, following, names, times
from signal_tasks.commands.output import Output
from signal_tasks.commands.verb import Given, verb
from signal_tasks.models import AuditEntry
from signal_tasks.operations import Operation

#: Verbs of the command that the audit trail has under another name.
ACTS = {"note": "annotate"}


def _operation(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("id", nargs="?", type=uuid.UUID, help="of one operation")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--cancel", action="store_true", help="leave the rest as it is")
    either.add_argument("--resume", action="store_true", help="go on, if it stopped")


@verb(
    "operations",
    "list operations; show, cancel, resume or wait for one",
    _operation,
    arguments.explained,
    arguments.waiting,
    arguments.limited,
    arguments.as_json,
)
def list_operations(out: Output, given: Given) -> None:
    """List operations, or show and steer one."""
    if given["id"] is not None:
        _one(out, given, _found(given["id"]))
        return
    for name in ("cancel", "resume", "wait"):
        if given[name]:
            raise CommandError(f"Which operation is --{name} for? Give its id.")
    found = operations.recent(given["limit"])
    if given["json"]:
        out.json([following.described(each) for each in found])
        return
    if not found:
        out.say("no operations")
        return
    for operation in found:
        _say_line(out, operation)


def _say_line(out: Output, operation: Operation) -> None:
    total = "?" if operation.total is None else operation.total
    numbers = f"{operation.done} of {total}"
    out.say(f"{operation.id}  {operation.kind} {operation.state}, {numbers}")
    who = f"{times.shown(operation.created_at)} by {operation.by or 'nobody'}"
    out.details(
        f"{who}: {operation.selection.words_for(operation.kind)}", operation.note
    )


def _found(pk: uuid.UUID) -> Operation:
    found = operations.find(pk)
    if found is None:
        newest = operations.recent(1)
        hint = f" The last one was {newest[0].id}." if newest else ""
        raise CommandError(f"There is no operation {pk}.{hint}")
    return found


def _one(out: Output, given: Given, operation: Operation) -> None:
    out.is_silent = given["json"]
    who = arguments.act(given)
    with arguments.refusals():
        if given["cancel"]:
            operation.cancel(**who)
        if given["resume"]:
            operation.resume(**who)
    if given["wait"]:
        following.follow(out, operation, given["timeout"])
        following.end(out, operation, as_json=given["json"])
        return
    if given["json"]:
        out.json(following.described(operation))
        return
    for name, value in following.described(operation).items():
        if value not in (None, "", False) and name != "filter":
            out.say(f"{name.replace('_', ' ')}: {value}")
    if sentence := following.missing_relay(operation):
        out.warn(sentence)


def _entries(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--verb", dest="act", metavar="VERB", help="only acts of this kind")
    add("--by", metavar="NAME", help="only what this person did")
    add("--operation", type=uuid.UUID, metavar="ID", help="only about this operation")
    add("--since", type=times.ago, metavar="TIME", help="a time, or an age such as 2h")
    add("--until", type=times.ago, metavar="TIME", help="the same, before then")


@verb(
    "log",
    "print what operators did, the newest first",
    _entries,
    arguments.limited,
    arguments.as_json,
)
def log(out: Output, given: Given) -> None:
    """Print the audit trail."""
    act = ACTS.get(given["act"], given["act"])
    if act is not None:
        names.check_act(act)
    entries = operations.log(
        limit=given["limit"],
        verb=act,
        by=given["by"],
        operation=given["operation"],
        since=times.moment(given["since"]),
        until=times.moment(given["until"]),
    )
    if given["json"]:
        out.json([_entry(entry) for entry in entries])
        return
    if not entries:
        out.say("no acts of operators")
    for entry in entries:
        out.say(f"{times.shown(entry.at)}  {entry.by or '-'}  {entry.verb}")
        out.details(entry.target, f"because: {entry.reason}" if entry.reason else "")


def _entry(entry: AuditEntry) -> dict[str, Any]:
    names = ("at", "verb", "target", "by", "reason", "operation_id", "command")
    return {name: getattr(entry, name) for name in names}


VERBS = (list_operations, log)
