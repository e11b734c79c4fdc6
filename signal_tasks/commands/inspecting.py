"""An event as a person reads it: its deliveries, and what failed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from signal_tasks.commands.output import count
from signal_tasks.reports.payloads import show


def lines_of(found: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of an event that ``operations.describe`` returned."""
    arguments = show(found["signal"], json.dumps(found["payload"])).line
    yield f"event {found['event']}  {found['sent_at']}"
    yield f"  {found['signal']}  {arguments}".rstrip()
    if found["subject"]:
        yield f"  about {found['subject']}"
    if found["cause"]:
        yield f"  sent by a receiver of the event {found['cause']}"
    for delivery in found["deliveries"]:
        yield from _delivery(delivery)


def _delivery(delivery: dict[str, Any]) -> Iterator[str]:
    yield f"delivery {delivery['delivery']}  {delivery['receiver']}"
    yield f"  {', '.join(_state(delivery))}"
    for failure in delivery["failures"]:
        yield from _failure(failure)
    if delivery["failures"]:
        yield from _indented(delivery["failures"][-1]["traceback"])


def _state(delivery: dict[str, Any]) -> Iterator[str]:
    reason = f" ({delivery['reason']})" if delivery["reason"] else ""
    yield f"{delivery['state']}{reason}"
    run = f" in run {delivery['run']}" if delivery["run"] > 1 else ""
    yield f"{count(delivery['attempts'], 'attempt', 'attempts')}{run}"
    if delivery["state"] == "pending":
        yield f"not before {delivery['available_at']}"
    if delivery["finished_at"]:
        yield f"finished {delivery['finished_at']}"
    if delivery["orphaned"]:
        yield "no running worker knows its receiver"
    if delivery["parked"]:
        yield f"cannot be published: {delivery['parked']}"
    if behind := delivery.get("waits_behind"):
        yield f"waits behind {behind['delivery']} ({behind['state']})"
    if delivery["merged"]:
        yield f"{count(delivery['merged'], 'more send', 'more sends')} merged into it"


def _failure(failure: dict[str, Any]) -> Iterator[str]:
    run = f"run {failure['run']}, " if failure["run"] > 1 else ""
    times = f" {failure['times']} times" if failure["times"] > 1 else ""
    worker = f"  on {failure['worker']}" if failure["worker"] else ""
    yield (
        f"  {run}attempt {failure['number']}  {failure['failed_at']}  "
        f"{failure['consequence']}{times}{worker}"
    )
    yield f"    {failure['error_type']}: {failure['error']}"


def _indented(text: str) -> Iterator[str]:
    for line in text.splitlines():
        yield f"    {line}"
