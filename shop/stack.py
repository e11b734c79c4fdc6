"""``make run``: the whole shop from one command, in one terminal, for development.

Redis comes from a wheel, the database is a file in ``var/``; set ``DATABASE_URL`` and
``CELERY_BROKER_URL`` to use others. All programs listen on the loopback interface only.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Self

import environ

from shop.embedded import RedisServer
from shop.processes import Program, Supervisor
from shop.servers import HOST, ServerError, claim_port
from shop.terminal import Screen, frame, show

BASE_DIR = Path(__file__).resolve().parent.parent
# A file with which the page /incident/ asks for kill -9 of a worker, and one whose time
# says when that was done.
KILL_A_WORKER, WORKER_KILLED = "kill-a-worker", "worker-killed"
# Who may use the dashboard, and a file with their password: see the command demo_login.
OPERATOR, OPERATOR_PASSWORD = "operator", "operator-password"
# Seconds after which the deliveries of a killed worker run again: short, because
# people kill one and watch.
LEASE = "10"
# The longest pause between two attempts at an email: people watch them fail.
EMAIL_MAX_DELAY = "4"
START_TIMEOUT = 90.0  # seconds that the web may take to answer the first time
# What manage.py in another terminal needs to use the same services.
SHARED = (
    "DEBUG", "CELERY_BROKER_URL", "DATABASE_URL", "EMAIL_URL", "HEALTH_TOKEN",
    "SITE_URL", "SIGNAL_TASKS_LEASE", "EMAIL_MAX_DELAY",
)  # fmt: skip


class StackError(Exception):
    """The stack cannot start; the message says why and what to do."""


class Stopped(Exception):
    """Somebody asked to stop before the stack had started."""


class Stack:
    """The programs of the shop, their addresses, and their data folder."""

    def __init__(
        self,
        var: Path,
        *,
        say: Callable[[str, str], None],
        web_port: int = 8000,
        flower_port: int = 5555,
    ) -> None:
        self.var = var
        self.web_port, self._web_lock = claim_port(web_port)
        self.flower_port, self._flower_lock = claim_port(flower_port)
        broker = os.environ.get("CELERY_BROKER_URL") or os.environ.get("REDIS_URL")
        self.redis = None if broker else RedisServer(var / "redis")
        self.env = {
            "DEBUG": "1",
            "HEALTH_TOKEN": secrets.token_urlsafe(),
            "SIGNAL_TASKS_LEASE": LEASE,
            "EMAIL_MAX_DELAY": EMAIL_MAX_DELAY,
            "SITE_URL": self.url,
            "FLOWER_URL": self.flower_url,
            **os.environ,
            "SHOP_VAR": str(var),
            "CELERY_BROKER_URL": broker or (self.redis.url if self.redis else ""),
        }
        self.supervisor = Supervisor(self._programs(), say)
        self.stop_requests = 0

    @property
    def url(self) -> str:
        """Return the address of the shop."""
        return f"http://{HOST}:{self.web_port}"

    @property
    def flower_url(self) -> str:
        """Return the address of Flower."""
        return f"http://{HOST}:{self.flower_port}"

    @property
    def login(self) -> str:
        """Return how to sign in as the operator."""
        file = self.var / OPERATOR_PASSWORD
        if file.exists():
            return f"{OPERATOR}, password {file.read_text()}"
        return "a user of yours (make admin creates one)"

    def start(self) -> None:
        """Start all programs, and wait until the shop answers."""
        self.supervisor.start(stage=0)
        if self.redis:
            self.redis.wait_until_ready()
        self.manage("migrate", "--verbosity", "0")
        self.manage("seed")
        self.manage("demo_login")
        self._write_run_env()
        self.supervisor.start(stage=1)
        deadline = time.monotonic() + START_TIMEOUT
        self.supervisor.run(until=lambda: self.answers() or time.monotonic() > deadline)
        if not self.answers():
            raise StackError(f"The shop did not answer in {START_TIMEOUT:.0f} s.")

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Keep all programs running until somebody stops them or the condition holds."""
        (self.var / KILL_A_WORKER).unlink(missing_ok=True)

        def stopped() -> bool:
            self._kill_if_asked()
            return bool(self.stop_requests) or until()

        self.supervisor.run(until=stopped)

    def _kill_if_asked(self) -> None:
        request = self.var / KILL_A_WORKER
        if request.exists():
            self.supervisor.programs["worker"].kill()
            (self.var / WORKER_KILLED).touch()
            request.unlink(missing_ok=True)

    def stop(self) -> None:
        """Stop all programs; a second Ctrl-C kills them."""
        enough = max(self.stop_requests, 1)
        self.supervisor.stop(hurry=lambda: self.stop_requests > enough)
        self._web_lock.close()
        self._flower_lock.close()

    def manage(self, *arguments: str) -> None:
        """Run a Django command with the settings of this stack."""
        command = [sys.executable, "manage.py", *arguments]
        result = subprocess.run(  # noqa: S603 -- the command is ours
            command, cwd=BASE_DIR, env=self.env, check=False
        )
        self._raise_if_stopped()
        if result.returncode:
            raise StackError(f"manage.py {arguments[0]} failed: see above.")

    def answers(self) -> bool:
        """Return True if the shop serves its first page."""
        self._raise_if_stopped()
        connection = HTTPConnection(HOST, self.web_port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def handle_signals(self) -> None:
        """Treat Ctrl-C, SIGTERM and a closed terminal as a request to stop."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._request_stop)

    def _request_stop(self, *_: object) -> None:
        self.stop_requests += 1

    def _raise_if_stopped(self) -> None:
        if self.stop_requests:
            raise Stopped

    def _write_run_env(self) -> None:
        file = self.var / "run.env"
        file.touch(mode=0o600)
        lines = [f"{key}={self.env[key]}\n" for key in SHARED if key in self.env]
        file.write_text("".join(lines))

    def _programs(self) -> list[Program]:
        celery = (sys.executable, "-m", "celery", "--quiet", "-A", "celery_app")
        alone = (
            "--without-gossip",
            "--without-mingle",
        )  # gossip and mingle serve no purpose here
        worker = (*celery, "worker", "-c2", "-lINFO", *alone)
        gunicorn = (sys.executable, "-m", "gunicorn", "-w2", "--threads=4")
        flower = (*celery, "flower", f"--address={HOST}", f"--port={self.flower_port}")
        links = f"--conf={BASE_DIR / 'shop' / 'flowerconfig.py'}"
        bind = f"--bind={HOST}:{self.web_port}"
        # Without -Q a worker serves every queue that a receiver names. The second one
        # sends emails while the first is busy.
        commands = {
            "web": (*gunicorn, bind, "--no-control-socket", "shop.wsgi"),
            "worker": (*worker, "-nshop@%h"),
            "worker-email": (*worker, "-nemail@%h", "-Qemail"),
            "flower": (
                *flower,
                links,
                "--read_only=True",
                "--purge_offline_workers=60",
            ),
        }
        programs = [
            Program(name=name, command=command, env=self.env, folder=BASE_DIR)
            for name, command in commands.items()
        ]
        if self.redis:
            programs.append(Program(name="redis", command=self.redis.command, stage=0))
        return programs

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


@contextmanager
def only_one(var: Path) -> Iterator[None]:
    """Refuse to start a second stack in the same folder."""
    var.mkdir(parents=True, exist_ok=True)
    with (var / "stack.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise StackError(
                f"A stack is running in {var} already (process {lock.read()}).\n"
                "Stop that one, or give this one a folder: SHOP_VAR=var2 make run"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def banner(stack: Stack) -> list[str]:
    """Return the lines that say where everything is."""
    emails = "go to EMAIL_URL" if "EMAIL_URL" in stack.env else f"{stack.var / 'mail'}/"
    return frame(
        [
            f"The shop      {stack.url}/",
            f"Its inbox     {stack.url}/inbox/   (emails: {emails})",
            f"An incident   {stack.url}/incident/",
            f"Dashboard     {stack.url}/signals/",
            f"Admin         {stack.url}/admin/",
            f"Flower        {stack.flower_url}/",
            "",
            f"Sign in as    {stack.login}",
            "Ctrl-C stops everything.",
        ]
    )


def main() -> int:
    """Run the shop until somebody stops it."""
    if (BASE_DIR / ".env").exists():
        environ.Env.read_env(BASE_DIR / ".env")
    var = Path(os.environ.get("SHOP_VAR", BASE_DIR / "var")).resolve()
    try:
        with only_one(var):
            stack = Stack(var, say=Screen())
            stack.handle_signals()
            with stack:
                show(*banner(stack))
                stack.run()
                show("Stopping...")
    except Stopped:
        return 0
    except (StackError, ServerError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
