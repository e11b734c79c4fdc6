"""Verbs of what failed: dead letters and their groups, notes, and having seen them."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from signal_tasks import operations
from signal_tasks.commands import arguments, names, times
from signal_tasks.commands.output import Output, deliveries
from signal_tasks.commands.verb import Given, verb
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.models import Attempt, Delivery
from signal_tasks.operations import FailureGroup, Selection
from signal_tasks.states import State

COMMAND = "manage.py signal_tasks"
#: Dead letters beyond which their number is "more than".
MAX_COUNTED = 10_000


def _group(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--group",
        nargs="?",
        const="",
        metavar="FINGERPRINT",
        help="dead letters of this failure group; without one, list the groups",
    )
    every = "with --group: also the groups without dead letters"
    parser.add_argument("--all", action="store_true", help=every)


@verb(
    "dead",
    "list dead letters, or with --group what they have died of",
    arguments.filters,
    _group,
    arguments.limited,
    arguments.as_json,
)
def dead(out: Output, given: Given) -> None:
    """List dead letters or failure groups."""
    if given["group"] == "":
        _list_groups(out, given)
        return
    if given["all"]:
        raise CommandError("--all is for a list of groups: dead --group --all")
    given = {**given, "state": State.DEAD.value}
    selection = arguments.selected(given)
    found = list(_newest(selection, given["limit"]))
    if given["json"]:
        out.json([_letter(*each) for each in found])
        return
    for delivery, failure in found:
        _say_letter(out, delivery, failure)
    out.say(_total(selection.count(MAX_COUNTED), len(found)))


def _newest(
    selection: Selection, limit: int
) -> Iterator[tuple[Delivery, Attempt | None]]:
    """Yield the dead letters that died last, with their last failures."""
    rows: list[Delivery] = []
    failures: dict[Any, Attempt] = {}
    for database in outbox_aliases():
        letters = selection.rows(database).order_by("-finished_at", "-pk")[:limit]
        ids = [row.pk for row in letters]
        failures |= operations.last_failures(ids, database=database)
        rows += letters
    rows.sort(key=lambda row: (row.finished_at, row.pk), reverse=True)
    yield from ((row, failures.get(row.pk)) for row in rows[:limit])


def _letter(delivery: Delivery, failure: Attempt | None) -> dict[str, Any]:
    names = ("receiver", "reason", "run", "attempts", "finished_at")
    return {
        "id": delivery.pk,
        "event": delivery.event_id,
        **{name: getattr(delivery, name) for name in names},
        "error_type": failure and failure.error_type,
        "error": failure and failure.error,
        "group": failure and failure.fingerprint,
    }


def _say_letter(out: Output, delivery: Delivery, failure: Attempt | None) -> None:
    at = times.shown(delivery.finished_at)
    run = f", run {delivery.run}" if delivery.run > 1 else ""
    out.say(f"{delivery.pk}  {at}  {delivery.reason}{run}")
    error = f"{failure.error_type}: {failure.error}" if failure else ""
    out.details(delivery.receiver, error)


def _total(number: int, shown: int) -> str:
    if number > shown:
        many = f"more than {MAX_COUNTED}" if number > MAX_COUNTED else str(number)
        return f"{shown} of {many} dead letters; --limit shows more"
    return "no dead letters" if not number else f"{number} dead"


def _list_groups(out: Output, given: Given) -> None:
    others = ("id", "signal", "reason", "error", "subject", "since", "until")
    if wrong := [name for name in others if given[name]]:
        raise CommandError(f"Groups are listed by --receiver only, not by {wrong[0]}.")
    if given["receiver"] is not None:
        names.check_receiver(given["receiver"])
    found = operations.failure_groups(receiver=given["receiver"])
    groups = [each for each in found if each.dead or given["all"]]
    if given["json"]:
        out.json([asdict(group) for group in groups[: given["limit"]]])
        return
    if not groups:
        hidden = " with dead letters; --all lists the others" if found else ""
        out.say(f"no failure groups{hidden}")
        return
    heading = ("fingerprint", "dead", "failures", "last seen")
    out.say(out.style.MIGRATE_HEADING("{:<16}  {:>8}  {:>8}  {}".format(*heading)))
    for group in groups[: given["limit"]]:
        _say_group(out, group)
    if len(groups) > given["limit"]:
        out.say(f"{given['limit']} of {len(groups)} groups; --limit shows more")
    out.say(f"its dead letters: {COMMAND} dead --group FINGERPRINT")


def _say_group(out: Output, group: FailureGroup) -> None:
    number = f"{group.dead}+" if group.dead_is_capped else str(group.dead)
    seen = times.shown(group.last_seen)
    out.say(f"{group.fingerprint:<16}  {number:>8}  {group.failures:>8}  {seen}")
    is_elsewhere = group.location not in ("", group.receiver)
    where = f" in {group.location}" if is_elsewhere else ""
    note = f"note: {group.note}" if group.note else ""
    out.details(f"{group.receiver}{where}", f"{group.error_type}: {group.sample}", note)


def _note(parser: ArgumentParser) -> None:
    parser.add_argument("fingerprint", help="of a failure group")
    parser.add_argument(
        "text", help='the note, in place of an earlier one; "" removes it'
    )


@verb(
    "note",
    "write a note on a failure group",
    _note,
    arguments.signed,
    arguments.as_json,
)
def note(out: Output, given: Given) -> None:
    """Annotate a failure group."""
    fingerprint, text = given["fingerprint"], given["text"]
    names.check_group(fingerprint)
    with arguments.refusals():
        operations.annotate(fingerprint, text, by=arguments.author(given))
    if given["json"]:
        out.json({"group": fingerprint, "note": text})
    else:
        out.say(f"{fingerprint}: {text}" if text else f"{fingerprint} has no note now")


@verb(
    "acknowledge",
    "say that you have seen the dead letters: status is then healthy again",
    arguments.explained,
    arguments.as_json,
)
def acknowledge(out: Output, given: Given) -> None:
    """Acknowledge the dead letters of now."""
    by = arguments.author(given)
    number = operations.acknowledge(by=by, reason=given["because"])
    if given["json"]:
        out.json({"by": by, "acknowledged": number})
    else:
        out.say(f"seen by {by}: {deliveries(number)} that died since the last look")


VERBS = (dead, note, acknowledge)
