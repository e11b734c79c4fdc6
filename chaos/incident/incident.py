"""One run: its numbers, what it has seen, and ways to do and to see things."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from chaos import journal
from chaos.environment import Environment, FaultNotInjected
from chaos.incident.signals import mail_due, seats_wanted
from chaos.incident.steps import Steps, expect
from shop.servers import Server
from signal_tasks import health

MAIL, BOOKING = (
    f"chaos.incident.receivers.{name}" for name in ("send_mail", "book_seats")
)
HOSTS = ("east", "west")
#: Who acts.
ADA, BOB = ("--by", "ada"), ("--by", "bob")
#: Longest wait for anything (seconds).
PATIENCE = 90.0
#: Between two looks at what is waited for (seconds).
LOOK_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """The numbers that are sent; ``late``: mails sent while the broker is frozen."""

    mails: int = 300
    late: int = 100
    bugs: int = 290
    departed: int = 100
    unclear: int = 10


SHORT = Numbers(mails=70, late=30, bugs=105, departed=30, unclear=5)


@dataclass
class Incident:
    """One run of the story.

    Attributes:
        groups: the fingerprint of each failure group, by its type of error.
        operations: what the command said of each operation, by a name of ours.
        moments: the times (of the journal) that the checks need.
    """

    env: Environment
    steps: Steps
    numbers: Numbers
    groups: dict[str, str] = field(default_factory=dict)
    moments: dict[str, float] = field(default_factory=dict)
    operations: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def broker(self) -> Server:
        """Return the broker's server."""
        if self.env.broker is None:
            raise FaultNotInjected("the broker is not ours")
        return self.env.broker

    def start_workers(self) -> None:
        """Start the workers that are not alive; return when they are ready."""
        processes = self.env.processes
        for host in HOSTS:
            if host not in processes.by_name:
                processes.add_worker(host, "-n", f"worker@{host}")
        processes.restart_dead()
        self.wait(lambda: all(w.ready for w in processes.workers), "ready workers")

    def send_mails(self, numbers: Iterable[int]) -> None:
        """Send the mails of these numbers."""
        mail_due.send_many(None, [{"key": f"mail-{n}"} for n in numbers])

    def send_bookings(self, kinds: Iterable[str]) -> None:
        """Send a booking of each of these kinds."""
        items = [{"key": f"{kind}-{n}", "kind": kind} for n, kind in enumerate(kinds)]
        seats_wanted.send_many(None, items)

    def read_groups(self) -> dict[str, Mapping[str, Any]]:
        """Return the groups of dead letters by the name of their error."""
        listed = self.steps.shell.json("dead", "--group")
        # Attempts that were lost with their worker are causes without a dead letter.
        found = [each for each in listed if each["dead"]]
        groups = {each["error_type"].rpartition(".")[2]: each for each in found}
        expect(len(groups) == len(found), f"one cause in several groups: {found}")
        self.groups = {kind: each["fingerprint"] for kind, each in groups.items()}
        return groups

    def counts(self, receiver: str) -> Mapping[str, int]:
        """Return the deliveries to a receiver by state."""
        return cast("Mapping[str, int]", health()["receivers"][receiver])

    def waiting(self, receiver: str) -> int:
        """Return how many deliveries to a receiver have not finished."""
        counts = self.counts(receiver)
        return counts["pending"] + counts["running"]

    def wait(self, condition: Callable[[], object], description: str) -> None:
        """Wait until the condition is true."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            expect(time.monotonic() < deadline, f"no {description} in {PATIENCE:g} s")
            time.sleep(LOOK_SECONDS)

    def records(self, kind: str) -> list[journal.Record]:
        """Return what the receivers wrote into the journal."""
        return [r for r in journal.read(self.env.folder) if r.kind == kind]
