"""Start MariaDB and RabbitMQ from the machine's packages, as private servers.

They run as an unprivileged user, on loopback ports, in temporary folders. No service
of the machine is used. Redis and PostgreSQL: see ``shop.embedded``; a standby of that
PostgreSQL is started here.
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

from shop.embedded import PostgresServer
from shop.processes import kill_group, spawn
from shop.servers import HOST, Server, ServerError, free_port

RABBIT_PROGRAMS = Path("/usr/lib/rabbitmq/bin")


class StandbyServer(PostgresServer):
    """A PostgreSQL that follows another one, until it is promoted."""

    def __init__(self, primary: PostgresServer, port: int | None = None) -> None:
        super().__init__(fsync=primary.fsync, port=port)
        self.primary = primary

    def take_over(self, primary: PostgresServer) -> None:
        """Put the data in the place of the primary's; both have to be stopped.

        The primary's address then leads to a standby that follows nobody.
        """
        with (self.data / "postgresql.auto.conf").open("a") as settings:
            settings.write("primary_conninfo = ''\nsynchronous_standby_names = ''\n")
        shutil.rmtree(primary.data)
        self.data.rename(primary.data)

    def _initialise(self) -> None:
        source = ("-h", HOST, "-p", str(self.primary.port), "-U", "postgres")
        options = ("--write-recovery-conf", "--checkpoint=fast", "--no-sync")
        command = [str(self.programs / "pg_basebackup"), "-D", str(self.data)]
        self.run([*command, *source, *options]).check_returncode()


def promote(server: PostgresServer) -> None:
    """Make a standby a primary; return when it is one."""
    control = str(server.programs / "pg_ctl")
    server.run([control, "promote", "-w", "-D", str(server.data)]).check_returncode()


class PackagedServer(Server):
    """A server from a package, run as ``nobody`` in a folder that ``close`` deletes."""

    def __init__(self, name: str) -> None:
        super().__init__(Path(tempfile.mkdtemp(prefix=f"{name}-")))
        self.identity: dict[str, Any] = {"cwd": self.folder}
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self.identity |= {"user": user.pw_uid, "group": user.pw_gid}
            self.identity["extra_groups"] = []

    def close(self) -> None:
        """Stop the server and delete its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _spawn(self, **options: Any) -> None:
        super()._spawn(**self.identity, env=self.environment, **options)

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment variables of the server's programs."""
        return {**os.environ, "HOME": str(self.folder)}

    def _program(self, *names: str) -> str:
        for name in names:
            if found := shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin"):
                return found
        raise ServerError(f"{names[0]} is not installed.")

    def _answers_to(self, greeting: bytes, prefix: bytes) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as client:
                client.sendall(greeting)
                return prefix in client.recv(64)
        except OSError:
            return False


class MariaServer(PackagedServer):
    """MariaDB with an empty database; every local user can connect as root."""

    def __init__(self) -> None:
        super().__init__("mariadb")

    @property
    def url(self) -> str:
        return f"mysql://root@{HOST}:{self.port}/chaos"

    @property
    def data(self) -> Path:
        """Return the folder of the databases."""
        return self.folder / "data"

    @property
    def command(self) -> tuple[str, ...]:
        settings = {
            "datadir": self.data,
            "port": self.port,
            "bind-address": HOST,
            "socket": self.folder / "socket",
            "pid-file": self.folder / "pid",
            "max-connections": 400,
            "innodb-flush-log-at-trx-commit": 2,
            "innodb-lock-wait-timeout": 5,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        program = self._program("mariadbd", "mysqld")
        return (program, "--no-defaults", "--skip-log-bin", *options)

    def answers(self) -> bool:
        return self._answers_to(b"", b"Maria") and self._query("SELECT 1") == 0

    def start(self) -> Self:
        new = not self.data.exists()
        if new:
            self._initialise()
        super().start()
        if new:
            self._query("CREATE DATABASE chaos CHARACTER SET utf8mb4")
        return self

    def _initialise(self) -> None:
        command = [
            self._program("mariadb-install-db", "mysql_install_db"),
            "--no-defaults",
            f"--datadir={self.data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]
        self._run(command).check_returncode()

    def _query(self, statement: str) -> int:
        socket_file = self.folder / "socket"
        client = self._program("mariadb", "mysql")
        options = ("--no-defaults", f"--socket={socket_file}", "-u", "root")
        return self._run([client, *options, "-e", statement]).returncode

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(  # noqa: S603 - the command is ours
            command, check=False, capture_output=True, **self.identity
        )


class RabbitServer(PackagedServer):
    """A private RabbitMQ node with a private port mapper."""

    stop_signal = signal.SIGTERM
    patience = 60.0

    def __init__(self) -> None:
        super().__init__("rabbitmq")
        self.mapper_port, self.node_port = free_port(), free_port()
        self.mapper: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{HOST}:{self.port}//"

    @property
    def command(self) -> tuple[str, ...]:
        program = RABBIT_PROGRAMS / "rabbitmq-server"
        if not program.exists():
            raise ServerError("rabbitmq-server is not installed.")
        return (str(program),)

    @property
    def environment(self) -> dict[str, str]:
        ours = {
            "RABBITMQ_NODENAME": f"chaos-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.node_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"),
            "ERL_EPMD_PORT": str(self.mapper_port),
            "ERL_EPMD_ADDRESS": HOST,
        }
        return {**super().environment, **ours}

    def answers(self) -> bool:
        return self._answers_to(b"AMQP\0\0\x09\x01", b"\x01\0\0")

    def start(self) -> Self:
        if self.mapper is None:
            command = (self._program("epmd"), "-port", str(self.mapper_port))
            self.mapper = spawn(
                (*command, "-address", HOST), env=self.environment, **self.identity
            )
        return super().start()

    def close(self) -> None:
        super().close()
        if self.mapper is not None:
            kill_group(self.mapper.pid)
            self.mapper.wait()
