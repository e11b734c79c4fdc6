"""Inject faults into the running shop, on a schedule that a seed decides."""

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

from chaos.processes import with_children
from shop.embedded import PostgresServer
from shop.processes import Program
from shop.stack import Stack
from tests.post_office import PostOffice

WORKERS = ("worker", "worker-email")
INTERVAL = 3.0  # seconds between two faults
MAIL_DOWNTIME = 4.0  # seconds
ACCEPT_DELAY = 0.05  # seconds between storing a message and accepting it


class SlowMailServer(PostOffice):
    """A mail server that accepts with a delay, so that a client can die meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.arrivals: list[float] = []  # when each message was received

    async def handle_DATA(  # noqa: N802 -- aiosmtpd calls it so
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        response = await super().handle_DATA(server, session, envelope)
        self.arrivals.append(time.time())
        await asyncio.sleep(ACCEPT_DELAY)
        return response


class CrashingPostgres(PostgresServer):
    """PostgreSQL that stops in immediate mode, and recovers when it starts."""

    stop_signal = signal.SIGQUIT


@dataclass
class FaultInjector:
    """Inject scheduled faults; called by the thread that runs the stack.

    Each fault returns whether it could be injected; if not, it is tried again.
    """

    stack: Stack
    database: PostgresServer
    mail_server: SlowMailServer
    rng: random.Random
    injected: list[tuple[float, str]] = field(default_factory=list)
    scheduled: list[tuple[float, str]] = field(default_factory=list)
    mail_down_until: float = 0.0

    def schedule(self, seconds: float) -> None:
        """Spread rounds of all faults over this time, each in a random order."""
        begin, rounds = time.monotonic(), self._rounds()
        count = max(int(seconds / INTERVAL), len(self.faults))
        every = seconds / count
        self.scheduled = [
            (begin + every * (n + 0.3), next(rounds)) for n in range(count)
        ]

    def _rounds(self) -> Iterator[str]:
        # A whole worker first: its deliveries wait longest, until their leases expire.
        first = "a worker"
        others = [name for name in self.faults if name != first]
        yield first
        yield from self.rng.sample(others, len(others))
        while True:
            yield from self.rng.sample(list(self.faults), len(self.faults))

    @property
    def faults(self) -> dict[str, Callable[[], bool]]:
        """Return the faults by name."""
        return {
            "a worker": self.kill_worker,
            "a pool process": self.kill_pool_process,
            "a web process": self.kill_web_process,
            "Redis, emptied": self.empty_redis,
            "PostgreSQL, immediate mode": self.restart_database,
            "the mail server": self.stop_mail_server,
        }

    @property
    def done(self) -> bool:
        """Return whether all faults were injected and the mail server is up again."""
        return not self.scheduled and not self.mail_down_until

    def tick(self) -> None:
        """Inject the next fault if it is due; start the mail server again if that is due."""
        now = time.monotonic()
        if self.mail_down_until and now > self.mail_down_until:
            self.mail_server.open()
            self.mail_down_until = 0.0
        if (
            self.scheduled
            and now >= self.scheduled[0][0]
            and self.faults[self.scheduled[0][1]]()
        ):
            self.injected.append((time.time(), self.scheduled.pop(0)[1]))

    def kill_worker(self) -> bool:
        """Kill a worker with all its children."""
        program = self._program(self.rng.choice(WORKERS))
        if self._children(program):
            program.kill()
            return True
        return False

    def kill_pool_process(self) -> bool:
        """Kill a pool process of a worker."""
        return self._kill_child(self._program(self.rng.choice(WORKERS)))

    def kill_web_process(self) -> bool:
        """Kill a process of the web server."""
        return self._kill_child(self._program("web"))

    def empty_redis(self) -> bool:
        """Kill Redis and delete its data; it starts again empty."""
        program, server = self._program("redis"), self.stack.redis
        if server is None or not program.alive:
            return False
        program.kill()
        shutil.rmtree(server.folder)
        server.folder.mkdir()
        return True

    def restart_database(self) -> bool:
        """Stop PostgreSQL in immediate mode, and start it again."""
        self.database.restart()
        return True

    def stop_mail_server(self) -> bool:
        """Stop the mail server for a while."""
        if self.mail_down_until:
            return False
        self.mail_server.close()
        self.mail_down_until = time.monotonic() + MAIL_DOWNTIME
        return True

    def _program(self, name: str) -> Program:
        return self.stack.supervisor.programs[name]

    def _children(self, program: Program) -> list[int]:
        if program.process is None or not program.alive:
            return []
        return with_children(program.process.pid)[1:]

    def _kill_child(self, program: Program) -> bool:
        children = self._children(program)
        if children:
            os.kill(self.rng.choice(children), signal.SIGKILL)
        return bool(children)
