"""PgBouncer in transaction mode before the stand's PostgreSQL, if it is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
from pathlib import Path
from typing import Any

from shop.embedded import PostgresServer
from shop.servers import HOST, Server

CONFIG = """\
[databases]
* = host={host} port={server_port} user=postgres
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 8
max_client_conn = 500
ignore_startup_parameters = extra_float_digits,options
"""


class PgBouncer(Server):
    """Eight server connections for all clients of a database."""

    def __init__(self, folder: Path, postgres: PostgresServer) -> None:
        super().__init__(folder)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)  # it refuses to run as root
        folder.parent.chmod(0o711)
        self.config = folder / "pgbouncer.ini"
        self.config.write_text(
            CONFIG.format(host=HOST, port=self.port, server_port=postgres.port)
        )

    @staticmethod
    def program() -> str | None:
        """Return its path, also in /usr/sbin, where Debian installs it."""
        return shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")

    @property
    def url(self) -> str:
        return f"postgres://postgres@{HOST}:{self.port}/postgres"

    @property
    def command(self) -> tuple[str, ...]:
        return (str(self.program()), str(self.config))

    def answers(self) -> bool:
        try:
            socket.create_connection((HOST, self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def _spawn(self, **options: Any) -> None:
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            options |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        super()._spawn(**options)
