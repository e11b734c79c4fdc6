"""Start programs, keep them running, stop them all: the process manager of the stack.

It runs as long as the terminal that started it. It differs from other Procfile runners
in two ways: it starts again what has died, and it sends SIGTERM only to the main
process of each program, because a Celery worker can finish its work only while its
children live. A program that does not stop in time is killed with its process group.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

TICK = 0.1
SETTLED = 10.0  # seconds after which a start counts as successful
FIRST_PAUSE = 1.0
MAX_PAUSE = 16.0

Say = Callable[[str, str], None]


def spawn(command: Iterable[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, so that Ctrl-C reaches only this process.

    Where util-linux is installed, the kernel sends the command a SIGTERM when the
    thread that started it ends.
    """
    setpriv = shutil.which("setpriv")
    die_with_parent = (setpriv, "--pdeathsig", "TERM") if setpriv else ()
    return subprocess.Popen(  # noqa: S603 -- the command is ours
        [*die_with_parent, *command],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        **options,
    )


def kill_group(pid: int) -> None:
    """Kill the process group of a process, if it still exists."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


@dataclass(kw_only=True)
class Program:
    """One program to keep running."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] | None = None
    folder: Path | None = None  # where it runs
    stage: int = 1  # started in this order, stopped in the reverse order
    grace: float = 20.0  # seconds between SIGTERM and SIGKILL
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    starts: int = field(default=0, init=False)
    started: float = field(default=0.0, init=False)
    pause: float = field(default=FIRST_PAUSE / 2, init=False)
    due: float = field(default=0.0, init=False)

    @property
    def alive(self) -> bool:
        """Return True while the main process lives."""
        return self.process is not None and self.process.poll() is None

    def start(self, say: Say) -> None:
        """Start the program, and pass on each line of its output."""
        self.process = spawn(
            self.command,
            env=self.env,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.started, self.starts = time.monotonic(), self.starts + 1
        threading.Thread(
            target=_pump, args=(self.process.stdout, self.name, say), daemon=True
        ).start()

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the main process, and to it alone."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def kill(self) -> None:
        """Kill the main process and its children."""
        if self.process is not None:
            kill_group(self.process.pid)
            self.process.wait()

    def keep_running(self, say: Say) -> None:
        """Start the program again if it has died and its pause is over."""
        if self.alive:
            return
        if self.process is not None:
            self._clean_up(self.process, say)
        elif time.monotonic() >= self.due:
            self.start(say)

    def _clean_up(self, process: subprocess.Popen[bytes], say: Say) -> None:
        """Clean up after a death; double the pause if the program died soon."""
        self.kill()  # children that outlived it
        self.process, now = None, time.monotonic()
        early = now - self.started < SETTLED
        self.pause = min(self.pause * 2, MAX_PAUSE) if early else FIRST_PAUSE
        self.due = now + self.pause
        say(
            self.name, f"ended ({process.returncode}); starts again in {self.pause:g} s"
        )


def _pump(stream: IO[bytes], name: str, say: Say) -> None:
    """Pass on each line of a program until its last copy of the pipe is closed."""
    with stream:
        for line in stream:
            say(name, line.decode(errors="replace").rstrip())


class Supervisor:
    """Keeps a set of programs running until told to stop."""

    def __init__(self, programs: Iterable[Program], say: Say) -> None:
        self.programs = {program.name: program for program in programs}
        self.say = say
        self.running: list[Program] = []

    def start(self, stage: int) -> None:
        """Start the programs of one stage."""
        for program in self.programs.values():
            if program.stage == stage:
                program.start(self.say)
                self.running.append(program)

    def tick(self) -> None:
        """Start again each program that has died, after its pause."""
        for program in self.running:
            program.keep_running(self.say)

    def run(self, until: Callable[[], bool]) -> None:
        """Keep all programs running until the condition holds."""
        while not until():
            self.tick()
            time.sleep(TICK)

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """Stop all programs, last stage first; kill those that take too long."""
        for stage in sorted({program.stage for program in self.running}, reverse=True):
            self._stop([p for p in self.running if p.stage == stage], hurry)
        self.running = []

    def _stop(self, programs: list[Program], hurry: Callable[[], bool]) -> None:
        asked = time.monotonic()
        for program in programs:
            program.ask_to_stop()
        while waiting := [program for program in programs if program.alive]:
            waited = time.monotonic() - asked
            late = [p for p in waiting if waited > p.grace or hurry()]
            for program in late:
                self.say(program.name, f"did not stop in {waited:.0f} s: killed")
                program.kill()
            time.sleep(TICK / 2)
        for program in programs:
            program.kill()  # children that outlived it
