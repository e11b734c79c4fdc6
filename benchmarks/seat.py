"""A contender on the test stand: its database, its probes, its workers, their effects."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import redis

from benchmarks.environments import python_for
from benchmarks.load import cpu_of, family, pss
from benchmarks.marks import Marks
from benchmarks.roster import ROOT, Contender
from shop.processes import kill_group, spawn

if TYPE_CHECKING:
    from benchmarks.stand import Stand

PATIENCE = float(os.environ.get("BENCH_PATIENCE", "180"))
WARM_UP = 200
ROWS = 1000


def has_rows(kind: str) -> bool:
    """Return True if the effect of an event of this kind is a row, not only a mark."""
    return not kind.endswith(("outside", "light"))


class BenchmarkError(Exception):
    """A measured run went wrong, so that its figure would mean nothing."""


class Seat:
    """A contender on the stand: its database, its probes, its workers."""

    def __init__(self, stand: Stand, contender: Contender, variant: str) -> None:
        self.stand = stand
        self.contender = contender
        self.database = f"bench_{contender.name}{variant}"
        self.marks = Marks(stand.folder / f"marks-{contender.name}{variant}")
        self.settings: dict[str, Any] = {}  # Django's, beyond the contender's own
        self.port = stand.postgres.port  # a bouncer's, for those who go through one
        self.python = str(python_for(contender))
        self.workers: list[subprocess.Popen[bytes]] = []
        with stand.sql("postgres") as connection:
            connection.execute(f'CREATE DATABASE "{self.database}"')
        self.probe("prepare")
        self.sql = stand.sql(self.database)
        self.broker = redis.Redis(port=stand.redis.port, db=contender.redis)

    # -- processes ----------------------------------------------------------------

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment of a probe or a worker."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/tmp"),  # noqa: S108
            "BENCH_CONTENDER": self.contender.name,
            "BENCH_PG_HOST": "127.0.0.1",
            "BENCH_PG_PORT": str(self.port),
            "BENCH_PG_NAME": self.database,
            "BENCH_REDIS_URL": self._redis_url(),
            "BENCH_MARKS": str(self.marks.folder),
            "BENCH_SETTINGS": json.dumps(self.settings),
            "DJANGO_SETTINGS_MODULE": "benchmarks.project.settings",
            "PGAPPNAME": name,
        }

    def _redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.stand.redis.port}/{self.contender.redis}"

    def probe(self, command: str, **options: object) -> dict[str, Any]:
        """Run a probe until it exits; return its result."""
        probe = self.start_probe(command, **options)
        output, _ = probe.communicate(timeout=PATIENCE)
        if probe.returncode:
            raise BenchmarkError(f"{self.contender.name}: probe {command} failed")
        return dict(json.loads(output))

    def start_probe(self, command: str, **options: object) -> subprocess.Popen[bytes]:
        """Start a probe, whose output the caller has to read."""
        given = [f"--{name}={value}" for name, value in options.items()]
        return subprocess.Popen(  # noqa: S603 -- the command is ours
            [self.python, "-m", "benchmarks.probe", command, *given],
            cwd=ROOT,
            env=self.environment("producer"),
            stdout=subprocess.PIPE,
        )

    def start(self) -> None:
        """Start the workers."""
        for number, command in enumerate(self.contender.workers):
            log = self.stand.folder / f"{self.database}-worker{number}.log"
            self.workers.append(
                spawn(
                    [self.python, *command],
                    cwd=ROOT,
                    env=self.environment("worker"),
                    stdout=log.open("wb"),
                    stderr=subprocess.STDOUT,
                )
            )

    def warm_up(self, kinds: Iterable[str]) -> None:
        """Run some events of each kind, so that all code is loaded; freeze the workers."""
        for kind in kinds:
            self.reset()
            self.probe("fill", events=WARM_UP, kind=kind)
            self.wait_for(WARM_UP, in_database=has_rows(kind))
        self.freeze()

    def freeze(self) -> None:
        """Pause the workers, but not in the middle of a transaction."""
        self._signal(signal.SIGSTOP)
        while self._holds_locks():
            self._signal(signal.SIGCONT)
            time.sleep(0.02)
            self._signal(signal.SIGSTOP)
            time.sleep(0.02)

    def _holds_locks(self) -> bool:
        return bool(
            self.sql.execute(
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'worker' AND xact_start IS NOT NULL"
            ).fetchall()
        )

    def thaw(self) -> None:
        """Let paused workers go on."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop the workers."""
        for worker in self.workers:
            kill_group(worker.pid)
            worker.wait()
        self.workers.clear()

    def close(self) -> None:
        """Stop the workers, and drop the database to free the disk."""
        self.stop()
        self.sql.close()
        with self.stand.sql("postgres") as connection:
            connection.execute(f'DROP DATABASE "{self.database}" WITH (FORCE)')

    def _signal(self, number: signal.Signals) -> None:
        for worker in self.workers:
            for process in family(worker.pid):
                process.send_signal(number)

    def cpu(self) -> dict[str, float]:
        """Return the seconds of CPU so far, of the workers and of the servers."""
        pids = {
            "workers": [worker.pid for worker in self.workers],
            "PostgreSQL": [self.stand.postgres.pid],
            "Redis": [self.stand.redis.pid],
        }
        return {
            name: sum(cpu_of(process) for pid in some for process in family(pid))
            for name, some in pids.items()
        }

    def pss(self) -> float:
        """Return the memory of the workers, in MB."""
        return sum(pss(worker.pid) for worker in self.workers)

    # -- effects ------------------------------------------------------------------

    def reset(self, *, tables: str = "%") -> None:
        """Empty the tables, the broker and the marks; insert 1,000 rows of stock."""
        self.sql.execute(self._truncate(tables))
        self.sql.execute(
            f"INSERT INTO bench_stock (id, taken) SELECT n, 0 "  # noqa: S608
            f"FROM generate_series(1, {ROWS}) n"
        )
        self.sql.execute("VACUUM ANALYZE")
        self.sql.execute("CHECKPOINT")
        self.broker.flushdb()
        self.marks.clear()

    def discard(self) -> None:
        """Remove a backlog, and the message that a frozen worker already has."""
        self.reset()
        self.thaw()
        time.sleep(0.5)
        self.freeze()
        self.reset()

    def _truncate(self, like: str) -> str:
        tables = self.sql.execute(
            "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'"
            " AND tablename NOT LIKE ALL (ARRAY['django_migrations', %s])"
            " AND tablename LIKE %s",
            [self.contender.kept, like],
        ).fetchall()
        return f"TRUNCATE {', '.join(name for (name,) in tables)} RESTART IDENTITY"

    def taken(self) -> int:
        """Return how many effects are committed."""
        ((total,),) = self.sql.execute("SELECT sum(taken) FROM bench_stock").fetchall()
        return int(total)

    def unfinished(self) -> int:
        """Return how many events are not finished, if the database knows."""
        if not self.contender.unfinished:
            return 0
        ((total,),) = self.sql.execute(self.contender.unfinished.encode()).fetchall()
        return int(total)

    def wait_for(self, events: int, *, in_database: bool) -> None:
        """Wait until so many effects are committed and no event is unfinished."""
        deadline = time.monotonic() + PATIENCE
        while not self._done(events, in_database=in_database):
            if time.monotonic() > deadline:
                raise BenchmarkError(
                    f"{self.database}: {self.marks.started()} of {events} ran, "
                    f"{self.taken()} taken, {self.unfinished()} unfinished"
                )
            time.sleep(0.01)

    def _done(self, events: int, *, in_database: bool) -> bool:
        if self.marks.started() < events or (in_database and self.taken() < events):
            return False
        return self.unfinished() == 0

    def check(self, *producers: int, in_database: bool = True) -> str:
        """Return what is wrong with the effects, or an empty string.

        Each event must have exactly one effect. ``producers`` are the numbers of events
        that each producer has sent.
        """
        events = sum(producers)
        if in_database:
            rows = self.sql.execute("SELECT id, taken FROM bench_stock").fetchall()
            wanted = Counter(n % ROWS + 1 for sent in producers for n in range(sent))
            wrong = sum(taken != wanted[row] for row, taken in rows)
            return f"{wrong} rows of stock are wrong" if wrong else ""
        counts = Counter(order for order, _ in self.marks.read("ran"))
        missing, twice = events - len(counts), sum(n > 1 for n in counts.values())
        return f"{missing} missing, {twice} twice" if missing or twice else ""
