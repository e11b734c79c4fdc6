"""Clients whose sends are merged, and a look at the outcome."""

from __future__ import annotations

import urllib.parse
from collections import Counter

from chaos.environment import Environment, PromiseBroken
from chaos.models import Effect, Ticket
from chaos.receivers import act_on_newest
from chaos.workload import get
from signal_tasks.models import Delivery

RECEIVER = f"{act_on_newest.__module__}.{act_on_newest.__qualname__}"
#: How the lines of these clients begin.
LINES = "coalesced-"


def merge(env: Environment) -> None:
    """Send two numbers to each of two lines, and one more to the first.

    If the second dies, it is made up for in the first line only.
    """
    name = f"{LINES}{env.rng.getrandbits(64)}"
    lines = [f"{name}-a", f"{name}-b"]
    for number, some in enumerate((lines, lines, lines[:1])):
        query = [("number", number), *(("line", line) for line in some)]
        get(f"{env.url}/merge?{urllib.parse.urlencode(query)}")


def expect_newest(env: Environment) -> None:
    """Expect the newest number of each line to be run, and nothing to be run twice."""
    env.expect(lambda: not _unfinished(), "end of the merged deliveries", 60)
    tickets = Ticket.objects.filter(line__startswith=LINES).order_by("place")
    newest = {ticket.line: ticket.key for ticket in tickets}
    rows = Effect.objects.filter(kind="coalesced")
    effects = Counter(rows.values_list("key", flat=True))
    if missing := set(newest.values()) - set(effects):
        raise PromiseBroken(f"the newest of its line was not run: {missing}")
    if doubled := [key for key, number in effects.items() if number > 1]:
        raise PromiseBroken(f"run twice: {doubled}")
    merged = Delivery.objects.filter(receiver=RECEIVER).values_list("merged", flat=True)
    if len(merged) != len(effects):
        raise PromiseBroken(f"{len(effects)} effects of {len(merged)} deliveries")
    if sum(merged) + len(merged) != tickets.count():
        raise PromiseBroken(f"{tickets.count()} sends counted as {list(merged)}")


def _unfinished() -> bool:
    return bool(Delivery.objects.live().filter(receiver=RECEIVER).exists())
