"""The processes under attack: Celery workers and a web server, kept running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from shop.processes import kill_group, spawn
from shop.servers import HOST, free_port

ROOT = Path(__file__).resolve().parent.parent
CELERY = (sys.executable, "-m", "celery", "-A", "chaos.celery_app", "worker")
LEAN = ("--without-mingle", "--without-gossip", "-l", "INFO")
GUNICORN = (sys.executable, "-m", "gunicorn", "chaos.wsgi", "--workers", "2")
#: Longest time that a process may take to come up on a busy machine (seconds).
PATIENCE = 60.0


def family(pid: int) -> list[int]:
    """A process and its children: each of PostgreSQL's has a group of its own."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *map(int, children)]


def send_to(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each of these processes that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


class ProcessError(Exception):
    """A process under attack does not come up again."""


@dataclass(kw_only=True)
class ManagedProcess:
    """One process with its children, in a process group of its own."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    log: Path
    sign: str = " ready."  # what it says when it is up
    wanted: bool = True  # whether it is to be started again when it has died
    starts: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _said: int = field(default=0, init=False)

    @property
    def pid(self) -> int:
        """The main process."""
        if self.process is None:
            raise ProcessError(f"{self.name} was never started")
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether the main process lives."""
        return self.process is not None and self.process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether it has come up since its last start."""
        return self.alive and self.sign in self.output[self._said :]

    @property
    def output(self) -> str:
        """All that it has said."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def start(self) -> None:
        """Start it; children of an earlier life are left to themselves."""
        self._said = len(self.output)
        self.starts += 1
        with self.log.open("ab") as output:
            self.process = spawn(
                self.command,
                cwd=ROOT,
                env=dict(self.env),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_until_ready(self) -> None:
        """Return when it has come up."""
        deadline = time.monotonic() + PATIENCE
        while not self.ready:
            if not self.alive or time.monotonic() > deadline:
                raise ProcessError(f"{self.name} did not start:\n{self.output[-3000:]}")
            time.sleep(0.05)

    def children(self) -> list[int]:
        """The processes that the main one has started."""
        return family(self.pid)[1:]

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the main process alone."""
        os.kill(self.pid, number)

    def send_all(self, number: signal.Signals) -> None:
        """Send a signal to the whole group, as systemd and a terminal do."""
        os.killpg(self.pid, number)

    def kill(self) -> None:
        """FinalState it with its children, as a power cut would."""
        if self.process is not None:
            kill_group(self.process.pid)
            self.process.wait(10)

    def stop(self, seconds: float = 15.0) -> float:
        """Ask it to stop; how long that took. What does not stop is killed."""
        started = time.monotonic()
        if self.process is not None and self.alive:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        self.kill()
        return time.monotonic() - started


@dataclass
class Processes:
    """All processes under attack; what dies unasked is started again."""

    folder: Path
    env: Mapping[str, str]
    members: dict[str, ManagedProcess] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a process beside those under attack."""
        return {**os.environ, **self.env}

    @property
    def workers(self) -> list[ManagedProcess]:
        """The Celery workers."""
        return [m for m in self.members.values() if m.command[: len(CELERY)] == CELERY]

    def add_worker(self, name: str, *options: str, **env: str) -> ManagedProcess:
        """Start a worker with two pool processes, unless options say otherwise."""
        size = () if {"-c", "-P"} & set(options) else ("-c", "2")
        command = (*CELERY, "-n", f"{name}@chaos", *LEAN, *size, *options)
        return self._add(name, command, role="worker", **env)

    def add_web(self) -> str:
        """Start the web server; returns its address."""
        port = free_port()
        command = (*GUNICORN, "--bind", f"{HOST}:{port}", "--timeout", "60")
        self._add("web", command, role="web", sign="Booting worker")
        return f"http://{HOST}:{port}"

    def add_relay(self) -> ManagedProcess:
        """Start a relay without a worker."""
        command = (sys.executable, "-m", "django", "signal_tasks", "relay")
        return self._add("relay", command, role="worker", sign="")

    def tend(self) -> None:
        """Start again what has died and is wanted."""
        for member in self.members.values():
            if member.wanted and not member.alive:
                member.start()

    def remove(self, member: ManagedProcess) -> None:
        """Kill it and forget it."""
        del self.members[member.name]
        member.kill()

    def end(self) -> None:
        """Kill all, and orphans that outlived their main process too."""
        for member in list(self.members.values()):
            self.remove(member)

    def _add(
        self,
        name: str,
        command: tuple[str, ...],
        *,
        role: str,
        sign: str = " ready.",
        **env: str,
    ) -> ManagedProcess:
        member = ManagedProcess(
            name=name,
            command=command,
            env={**self.environment, "CHAOS_ROLE": role, **env},
            log=self.folder / f"{name}.log",
            sign=sign,
        )
        self.members[name] = member
        member.start()
        return member
