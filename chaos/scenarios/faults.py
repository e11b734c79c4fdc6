"""Breaks a running shop, at the times that a seed has chosen."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from aiosmtpd.smtp import SMTP, Envelope, Session

from chaos.processes import family
from shop.embedded import PostgresServer
from shop.processes import Program
from shop.stack import Stack
from tests.post_office import PostOffice

WORKERS = ("worker", "worker-email")
EVERY = 3.0  # seconds between two faults
MAIL_IS_DOWN = 4.0  # seconds
HESITATION = 0.05  # seconds between taking a message and saying so


class SlowOffice(PostOffice):
    """A mail server whose yes takes a moment, so that its client can die meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.arrivals: list[float] = []  # when each message was received

    async def handle_DATA(  # noqa: N802 -- aiosmtpd calls it so
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        verdict = await super().handle_DATA(server, session, envelope)
        self.arrivals.append(time.time())
        await asyncio.sleep(HESITATION)
        return verdict


class HarshPostgres(PostgresServer):
    """PostgreSQL that is stopped in its immediate mode: it has to recover."""

    stop_signal = signal.SIGQUIT


@dataclass
class Weather:
    """What can be broken, and what was. Called by the thread that runs the stack.

    Each method that breaks something says whether there was something to break; if
    not, it is tried again.
    """

    stack: Stack
    database: PostgresServer
    office: SlowOffice
    rng: random.Random
    made: list[tuple[float, str]] = field(default_factory=list)
    due: list[tuple[float, str]] = field(default_factory=list)
    mail_returns: float = 0.0

    def plan(self, seconds: float) -> None:
        """Spread rounds of all faults over this time, each round in its own order."""
        begin, rounds = time.monotonic(), self._rounds()
        count = max(int(seconds / EVERY), len(self.faults))
        every = seconds / count
        self.due = [(begin + every * (n + 0.3), next(rounds)) for n in range(count)]

    def _rounds(self) -> Iterator[str]:
        # A whole worker first: what it had in its hands waits longest.
        first = "a worker"
        others = [name for name in self.faults if name != first]
        yield first
        yield from self.rng.sample(others, len(others))
        while True:
            yield from self.rng.sample(list(self.faults), len(self.faults))

    @property
    def faults(self) -> dict[str, Callable[[], bool]]:
        """What breaks, and how it is broken."""
        return {
            "a worker": self.kill_worker,
            "a pool process": self.kill_pool_process,
            "a web process": self.kill_web_process,
            "Redis, emptied": self.lose_redis,
            "PostgreSQL, immediate mode": self.restart_database,
            "the mail server": self.close_office,
        }

    @property
    def calm(self) -> bool:
        """Whether everything was broken that is to be, and the mail server is up."""
        return not self.due and not self.mail_returns

    def tick(self) -> None:
        """Break what is due, and let the mail server come back."""
        now = time.monotonic()
        if self.mail_returns and now > self.mail_returns:
            self.office.open()
            self.mail_returns = 0.0
        if self.due and now >= self.due[0][0] and self.faults[self.due[0][1]]():
            self.made.append((time.time(), self.due.pop(0)[1]))

    def kill_worker(self) -> bool:
        """Kill a worker with all its children."""
        program = self._program(self.rng.choice(WORKERS))
        if self._children(program):
            program.kill()
            return True
        return False

    def kill_pool_process(self) -> bool:
        """Kill one of the processes in which a worker runs receivers."""
        return self._kill_child(self._program(self.rng.choice(WORKERS)))

    def kill_web_process(self) -> bool:
        """Kill one of the processes that answer requests."""
        return self._kill_child(self._program("web"))

    def lose_redis(self) -> bool:
        """Kill Redis, and let it start again with nothing."""
        program, server = self._program("redis"), self.stack.redis
        if server is None or not program.alive:
            return False
        program.kill()
        shutil.rmtree(server.folder)
        server.folder.mkdir()
        return True

    def restart_database(self) -> bool:
        """Stop PostgreSQL without a goodbye to anybody, and start it again."""
        self.database.restart()
        return True

    def close_office(self) -> bool:
        """Let the mail server be down for a while."""
        if self.mail_returns:
            return False
        self.office.close()
        self.mail_returns = time.monotonic() + MAIL_IS_DOWN
        return True

    def _program(self, name: str) -> Program:
        return self.stack.supervisor.programs[name]

    def _children(self, program: Program) -> list[int]:
        if program.process is None or not program.alive:
            return []
        return family(program.process.pid)[1:]

    def _kill_child(self, program: Program) -> bool:
        children = self._children(program)
        if children:
            os.kill(self.rng.choice(children), signal.SIGKILL)
        return bool(children)
