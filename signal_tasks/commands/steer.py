"""Verbs that steer: pause, resume, limit, clear."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from signal_tasks import operations
from signal_tasks.commands import arguments, names, times
from signal_tasks.commands.output import Output
from signal_tasks.commands.verb import Given, verb
from signal_tasks.operations import ControlInForce

TARGET = '"*" for everything, or a receiver, signal or queue, such as queue:email'


def _target(parser: ArgumentParser) -> None:
    parser.add_argument("target", help=TARGET)


def _optional_target(parser: ArgumentParser) -> None:
    parser.add_argument("target", nargs="?", help=f"{TARGET}; none lists them")


def _until(parser: ArgumentParser) -> None:
    text = "when it ends by itself: a time, or 2h for in two hours"
    parser.add_argument("--until", type=times.ahead, metavar="TIME", help=text)


def _limits(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--rate", metavar="RATE", help='deliveries a second, or text as "100/m"')
    add("--max-concurrency", type=int, metavar="N", help="deliveries at a time")


@verb(
    "pause",
    "start nothing of a receiver, signal or queue; without one, list what is paused",
    _optional_target,
    _until,
    arguments.explained,
    arguments.as_json,
)
def pause(out: Output, given: Given) -> None:
    """Pause a target, or list the pauses."""
    if given["target"] is None:
        _list(out, given, "pause")
        return
    names.check_target(given["target"])
    with arguments.refusals():
        target = operations.pause(
            given["target"],
            until=given["until"],
            **arguments.act(given),
        )
    _say(out, given, "pause", target, "is paused; what runs finishes")


@verb(
    "resume",
    "let what is paused start again",
    _target,
    arguments.explained,
    arguments.as_json,
)
def resume(out: Output, given: Given) -> None:
    """Resume a target."""
    with arguments.refusals():
        target = operations.resume(given["target"], **arguments.act(given))
    _say(out, given, "pause", target, "is resumed")


@verb(
    "limit",
    "limit a receiver, signal or queue for all workers; without one, list the limits",
    _optional_target,
    _limits,
    _until,
    arguments.explained,
    arguments.as_json,
)
def limit(out: Output, given: Given) -> None:
    """Limit a target, or list the limits."""
    if given["target"] is None:
        _list(out, given, "limit")
        return
    names.check_target(given["target"])
    with arguments.refusals():
        target = operations.limit(
            given["target"],
            rate=given["rate"],
            max_concurrency=given["max_concurrency"],
            until=given["until"],
            **arguments.act(given),
        )
    _say(out, given, "limit", target, f"is limited to {_limits_of(given)}")


@verb(
    "clear",
    "end a limit; what the code says holds again",
    _target,
    arguments.explained,
    arguments.as_json,
)
def clear(out: Output, given: Given) -> None:
    """Clear the limit of a target."""
    with arguments.refusals():
        target = operations.clear(given["target"], **arguments.act(given))
    _say(out, given, "limit", target, "is not limited any more")


def _say(out: Output, given: Given, kind: str, target: str, text: str) -> None:
    if given["json"]:
        out.json({"target": target, "in_force": _described(kind, target)})
    else:
        shown = "everything" if target == "*" else target
        out.say(f"{shown} {text}")


def _described(kind: str, target: str) -> dict[str, Any] | None:
    for each in operations.controls():
        if (each.kind, each.target) == (kind, target):
            return asdict(each)
    return None


def _list(out: Output, given: Given, kind: str) -> None:
    found = [each for each in operations.controls() if each.kind == kind]
    if given["json"]:
        out.json([asdict(each) for each in found])
        return
    if not found:
        out.say({"pause": "nothing is paused", "limit": "nothing is limited"}[kind])
    for each in found:
        out.say(each.target)
        out.details(*_lines(each))


def _lines(control: ControlInForce) -> list[str]:
    limits = _limits_of(
        {"rate": control.rate, "max_concurrency": control.max_concurrency}
    )
    ends = f" until {times.shown(control.until)}" if control.until else ""
    who = f" by {control.by}" if control.by else ""
    return [
        limits,
        f"since {times.shown(control.since)}{ends}{who}",
        f"because: {control.reason}" if control.reason else "",
    ]


def _limits_of(given: Given) -> str:
    texts = []
    if given["rate"]:
        rate = str(given["rate"])
        texts.append(rate if "/" in rate else f"{rate} a second")
    if given["max_concurrency"] is not None:
        texts.append(f"{given['max_concurrency']} at a time")
    return ", ".join(texts)


VERBS = (pause, resume, limit, clear)
