"""The base of servers that run as child processes, and how they get a port."""

from __future__ import annotations

import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

from shop.processes import kill_group, spawn

HOST = "127.0.0.1"


class ServerError(Exception):
    """A server did not start, or its wheel is not installed."""


#: Below those that the kernel gives to outgoing connections, which would take a port
#: before somebody listens on it.
PORTS = range(10_240, 32_768)


def free_port(preferred: int = 0) -> int:
    """Return the preferred loopback port if nobody listens there, else a free one."""
    port = preferred
    while not port or not _is_free(port):
        port = secrets.choice(PORTS)  # tests give all processes one seed
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def claim_port(preferred: int = 0) -> tuple[int, socket.socket]:
    """Return a free port, and a lock that keeps the next caller off it.

    Another process could choose the same port before somebody listens on it. The lock,
    an abstract socket name that Linux frees with its process, prevents that.
    """
    port = free_port(preferred)
    lock = socket.socket(socket.AF_UNIX)
    if sys.platform != "linux":
        return port, lock
    try:
        lock.bind(f"\0shop-port-{port}")
    except OSError:
        lock.close()
        return claim_port()
    return port, lock


def wheel_folder(package: str) -> Path:
    """Return where a package is installed, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(f"The package {package!r} is not installed.")
    return Path(spec.submodule_search_locations[0])


class Server(ABC):
    """A server process. Tests also kill and freeze it."""

    stop_signal = signal.SIGTERM
    patience = 20.0  # seconds to start and to stop

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder
        self._lock: socket.socket | None = None
        if not port:
            port, self._lock = claim_port()
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Return the URL that clients connect to."""

    @property
    @abstractmethod
    def command(self) -> tuple[str, ...]:
        """Return the command that runs the server in the foreground."""

    @abstractmethod
    def answers(self) -> bool:
        """Return True if the server answers a client now."""

    @property
    def pid(self) -> int:
        """Return the id of the running process."""
        if self.process is None:
            raise ServerError("The server is not running.")
        return self.process.pid

    def start(self) -> Self:
        """Start the server and return when it answers."""
        deadline = time.monotonic() + self.patience
        while True:
            self._spawn()
            if self._wait_for_answer(deadline):
                return self
            self.kill()
            if time.monotonic() > deadline:
                raise ServerError(f"No answer on port {self.port}: {self.log_tail()}")
            time.sleep(0.2)  # the port of a killed server is not free at once

    def stop(self) -> None:
        """Ask the server to stop, and wait for it."""
        if self.process is not None:
            self.process.send_signal(self.stop_signal)
            # A frozen server would not handle the signal.
            self.process.send_signal(signal.SIGCONT)
            try:
                self.process.wait(self.patience)
            finally:
                self.kill()

    def kill(self) -> None:
        """Kill the server as a power cut would."""
        if self.process is not None:
            kill_group(self.process.pid)
            self.process.wait()
            self.process = None

    def restart(self) -> Self:
        """Stop the server and start it again, on the same port and data."""
        self.stop()
        return self.start()

    def pause(self) -> None:
        """Freeze the server: it accepts connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Continue a frozen server."""
        os.kill(self.pid, signal.SIGCONT)

    def wait_until_ready(self) -> None:
        """Wait until the server answers, whoever started it."""
        deadline = time.monotonic() + self.patience
        while not self.answers():
            if time.monotonic() > deadline:
                raise ServerError(f"No answer on port {self.port}.")
            time.sleep(0.05)

    def log_tail(self) -> str:
        """Return the end of the server's log."""
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""

    @property
    def log(self) -> Path:
        """Return the file that takes the server's output."""
        return self.folder / "server.log"

    def _spawn(self, **options: Any) -> None:
        with self.log.open("ab") as log:
            self.process = spawn(
                self.command, stdout=log, stderr=subprocess.STDOUT, **options
            )

    def _wait_for_answer(self, deadline: float) -> bool:
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                return False
            if self.answers():
                return True
            time.sleep(0.02)
        return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()
