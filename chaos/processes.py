"""The processes under test: start Celery workers and a web server; restart the dead."""

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
CELERY = (sys.executable, "-m", "chaos.worker", "-A", "chaos.celery_app", "worker")
WORKER_OPTIONS = ("--without-mingle", "--without-gossip", "-l", "INFO")
GUNICORN = (sys.executable, "-m", "gunicorn", "chaos.wsgi", "--workers", "2")
#: Longest wait for a process to become ready on a busy machine (seconds).
START_TIMEOUT = 60.0


def with_children(pid: int) -> list[int]:
    """Return a process and its children, whatever process groups they are in."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *map(int, children)]


def send_to(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each of these processes that still exists."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


class ProcessError(Exception):
    """A process under test does not start again."""


@dataclass(kw_only=True)
class ManagedProcess:
    """One process with its children, in a process group of its own."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    log: Path
    ready_text: str = " ready."  # its log contains this when it is ready
    keep_running: bool = True  # start it again when it has died
    starts: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _log_start: int = field(default=0, init=False)  # where its last start begins

    @property
    def pid(self) -> int:
        """Return the id of the main process."""
        if self.process is None:
            raise ProcessError(f"{self.name} was never started")
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Return whether the main process is alive."""
        return self.process is not None and self.process.poll() is None

    @property
    def ready(self) -> bool:
        """Return whether it has become ready since its last start."""
        return self.alive and self.ready_text in self.output[self._log_start :]

    @property
    def output(self) -> str:
        """Return its whole log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def start(self) -> None:
        """Start it, unless it is alive; leave children of an earlier main process."""
        if self.alive:
            return
        self._log_start = len(self.output)
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
        """Return when it is ready; raise if it died or takes too long."""
        deadline = time.monotonic() + START_TIMEOUT
        while not self.ready:
            if not self.alive or time.monotonic() > deadline:
                raise ProcessError(f"{self.name} did not start:\n{self.output[-3000:]}")
            time.sleep(0.05)

    def children(self) -> list[int]:
        """Return the ids of the processes that the main process has started."""
        return with_children(self.pid)[1:]

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the main process only."""
        os.kill(self.pid, number)

    def send_all(self, number: signal.Signals) -> None:
        """Send a signal to the whole group, as systemd and a terminal do."""
        os.killpg(self.pid, number)

    def kill(self) -> None:
        """Kill it with its children, as a power cut would."""
        if self.process is not None:
            kill_group(self.process.pid)
            self.process.wait(10)

    def stop(self, seconds: float = 15.0) -> float:
        """Stop it, kill it if that takes too long, and return the seconds it took."""
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
    """All processes under test; those that die are started again."""

    folder: Path
    by_name: dict[str, ManagedProcess] = field(default_factory=dict)

    @property
    def workers(self) -> list[ManagedProcess]:
        """Return the Celery workers."""
        everything = self.by_name.values()
        return [p for p in everything if p.command[: len(CELERY)] == CELERY]

    def add_worker(self, name: str, *options: str, **env: str) -> ManagedProcess:
        """Start a worker with two pool processes, unless options say otherwise."""
        size = () if {"-c", "-P"} & set(options) else ("-c", "2")
        command = (*CELERY, "-n", f"{name}@chaos", *WORKER_OPTIONS, *size, *options)
        return self._add(name, command, role="worker", **env)

    def add_web(self) -> str:
        """Start the web server; return its URL."""
        port = free_port()
        command = (*GUNICORN, "--bind", f"{HOST}:{port}", "--timeout", "60")
        self._add("web", command, role="web", ready_text="Booting worker")
        return f"http://{HOST}:{port}"

    def add_relay(self) -> ManagedProcess:
        """Start a relay without a worker."""
        command = (sys.executable, "-m", "django", "signal_tasks", "relay")
        return self._add("relay", command, role="worker", ready_text="")

    def restart_dead(self) -> None:
        """Start again each process that has died and is to be kept running."""
        for process in self.by_name.values():
            if process.keep_running and not process.alive:
                process.start()

    def remove(self, process: ManagedProcess) -> None:
        """Kill a process and do not start it again."""
        del self.by_name[process.name]
        process.kill()

    def remove_all(self) -> None:
        """Kill everything, including children that survived their main process."""
        for process in list(self.by_name.values()):
            self.remove(process)

    def _add(
        self,
        name: str,
        command: tuple[str, ...],
        *,
        role: str,
        ready_text: str = " ready.",
        **env: str,
    ) -> ManagedProcess:
        process = ManagedProcess(
            name=name,
            command=command,
            env={**os.environ, "CHAOS_ROLE": role, **env},
            log=self.folder / f"{name}.log",
            ready_text=ready_text,
        )
        self.by_name[name] = process
        process.start()
        return process
