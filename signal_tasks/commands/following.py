"""Follow an operation: what is said of it, its progress, and waiting for its end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from django.core.management.base import CommandError

from signal_tasks.broker.config import celery_command
from signal_tasks.commands.output import Output, deliveries
from signal_tasks.healthcheck import without_relay
from signal_tasks.operations import Operation
from signal_tasks.states import OperationState

#: Seconds between two looks at an operation that is waited for.
LOOK_SECONDS = 0.5
#: An operation on so many deliveries is worked off by the command itself.
AT_ONCE = 100
#: Seconds that the command works at it.
WORK_SECONDS = 10.0
COMMAND = "manage.py signal_tasks"
PAST = {"replay": "replayed", "discard": "discarded", "backfill": "backfilled"}
Show = Callable[[Operation], None]


def described(operation: Operation) -> dict[str, Any]:
    """Return an operation, ready for JSON."""
    names = ("kind", "state", "total", "done", "failed", "skipped", "canary", "rate")
    more = ("reason", "by", "note", "created_at", "finished_at")
    return {
        "id": operation.id,
        "selection": operation.selection.words_for(operation.kind),
        "filter": json.loads(operation.selection.to_json()),
        **{name: getattr(operation, name) for name in (*names, *more)},
    }


def result(operation: Operation) -> str:
    """Return a line about what an operation has done."""
    done = f"{deliveries(operation.done)} {PAST[operation.kind]}"
    text = f"{done}{_others(operation)}"
    if operation.state == OperationState.DONE:
        return text
    note = f": {operation.note}" if operation.note else ""
    return f"{operation.kind} {operation.id} is {operation.state} ({text}){note}"


def follow(out: Output, operation: Operation, timeout: float | None) -> None:
    """Print the progress of an operation until it is finished.

    Raises:
        CommandError: no relay is alive that works at it, or the time is over.
    """
    until = None if timeout is None else time.monotonic() + timeout
    with _progress(out) as show:
        while operation.refresh().is_open:
            show(operation)
            _refuse_without_relay(operation)
            if until is not None and time.monotonic() >= until:
                raise CommandError(
                    f"The operation {operation.id} is not finished after {timeout:g} s; "
                    f"relays go on with it. See: {COMMAND} operations {operation.id}"
                )
            time.sleep(LOOK_SECONDS)
        show(operation)


def end(out: Output, operation: Operation, *, as_json: bool) -> None:
    """Print how an operation has ended; leave with 1 if it has not done everything."""
    if as_json:
        out.json(described(operation))
    else:
        out.say(result(operation))
    if sentence := _how_to_go_on(operation):
        out.warn(sentence)
    if operation.state != OperationState.DONE or operation.failed:
        raise SystemExit(1)


def _how_to_go_on(operation: Operation) -> str:
    """Return a sentence about what is left to do, or nothing."""
    if operation.state == OperationState.STOPPED:
        command = f"{COMMAND} operations {operation.id}"
        return f"Once that is mended: {command} --resume; or end it: {command} --cancel"
    if operation.state == OperationState.DONE and operation.failed:
        those = "It was" if operation.failed == 1 else "They were"
        return (
            f"{deliveries(operation.failed)} failed. {those} not changed, or failed "
            f"again: once the cause is mended, give the same {operation.kind} again"
        )
    return ""


def missing_relay(operation: Operation) -> str:
    """Return a sentence if nobody is alive who works at an operation, else nothing."""
    missing = set(without_relay()) & set(operation.databases)
    if not missing or not operation.is_open:
        return ""
    return (
        f"The operation {operation.id} waits: no relay is alive on "
        f"{', '.join(sorted(missing))}. Start a worker ({celery_command()} worker) or a "
        f"relay ({COMMAND} relay): it goes on by itself"
    )


def _refuse_without_relay(operation: Operation) -> None:
    if sentence := missing_relay(operation):
        raise CommandError(sentence)


@contextmanager
def _progress(out: Output) -> Iterator[Show]:
    """Give what shows the progress: a bar of rich in a terminal, else lines."""
    if out.is_silent:
        yield lambda operation: None
    elif out.is_terminal and find_spec("rich") is not None:
        with _bar() as show:
            yield show
    else:
        yield _lines(out)


def _lines(out: Output) -> Show:
    said = ""

    def show(operation: Operation) -> None:
        nonlocal said
        text = _counts(operation)
        if operation.is_open and text != said:
            out.say(text)
            said = text

    return show


@contextmanager
def _bar() -> Iterator[Show]:
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(operation: Operation) -> None:
            gone = operation.done + operation.failed + operation.skipped
            text = _counts(operation)
            bar.update(task, description=text, completed=gone, total=operation.total)

        yield show


def _counts(operation: Operation) -> str:
    total = "?" if operation.total is None else operation.total
    done = f"{operation.kind}: {operation.done} of {total} done"
    return f"{done}{_others(operation)}"


def _others(operation: Operation) -> str:
    """Return how many deliveries have failed or were skipped, if any."""
    numbers = {"failed": operation.failed, "skipped": operation.skipped}
    return "".join(f", {number} {name}" for name, number in numbers.items() if number)
