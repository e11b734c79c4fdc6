"""``make run`` as a person meets it: starts, says where, stops, leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

import psutil
import pytest

from shop.embedded import PostgresServer, RedisServer
from shop.http_client import ShopClient
from shop.mail_folder import links_from
from shop.stack import KILL_A_WORKER

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a-token-of-the-tests"
UNSET = ("DATABASE_URL", "CELERY_BROKER_URL", "REDIS_URL", "EMAIL_URL", "SECRET_KEY")


class Run:
    """One ``make run``, without make."""

    def __init__(self, var: Path, **env: str) -> None:
        self.var = var
        self.output = var.with_suffix(".out")
        kept = {k: v for k, v in os.environ.items() if k not in UNSET}
        kept.pop("DJANGO_SETTINGS_MODULE", None)
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "shop.stack"],
                cwd=ROOT,
                env={**kept, "SHOP_VAR": str(var), "HEALTH_TOKEN": TOKEN, **env},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self, text: str) -> bool:
        return text in self.output.read_text()

    def up(self) -> str:
        eventually(lambda: self.said("Ctrl-C stops everything."), self.output)
        line = next(
            line for line in self.output.read_text().splitlines() if "The shop" in line
        )
        return line.split()[3]

    def programs(self) -> set[int]:
        """All processes that live in this stack's folder."""
        return {p.pid for p in psutil.process_iter() if shop_var(p) == str(self.var)}

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(40)


def shop_var(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("SHOP_VAR")
    except psutil.Error:
        return None


def eventually(condition: Callable[[], object], log: Path) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def get(url: str) -> int:
    with build_opener(ProxyHandler({})).open(url, timeout=20) as answer:
        return int(answer.status)


@pytest.fixture
def run(tmp_path):
    runs: list[Run] = []

    def start(name: str = "var", **env: str) -> Run:
        runs.append(Run(tmp_path / name, **env))
        return runs[-1]

    yield start
    for one in runs:
        if one.process.poll() is None:
            one.stop()


def test_it_starts_serves_and_leaves_no_process_behind(run):
    stack = run()
    assert get(stack.up()) == 200
    assert len(stack.programs()) >= 7
    assert stack.stop(signal.SIGINT) == 0
    assert stack.programs() == set()


def test_it_starts_again_at_once_with_its_data(run):
    first = run()
    first.up()
    first.stop()
    second = run()
    assert get(second.up()) == 200
    assert second.said("0 sample products added")


def test_a_second_one_in_the_same_folder_is_refused(run):
    first = run()
    first.up()
    second = run()
    assert second.process.wait(30) == 1
    assert second.said(f"process {first.process.pid}")


def test_two_in_two_folders_take_other_ports(run):
    one, two = run("one"), run("two")
    assert one.up() != two.up()


def test_a_killed_worker_comes_back(run):
    stack = run()
    stack.up()
    for pid in filter(is_worker, stack.programs()):
        with suppress(psutil.NoSuchProcess):  # it may have ended with its parent
            psutil.Process(pid).kill()
    eventually(lambda: stack.said("starts again"), stack.output)
    eventually(lambda: any(map(is_worker, stack.programs())), stack.output)


def test_it_kills_a_worker_when_the_page_of_the_incident_asks_and_starts_another(run):
    stack = run()
    stack.up()
    eventually(lambda: len(main_workers(stack)) == 1, stack.output)
    (before,) = main_workers(stack)
    (stack.var / KILL_A_WORKER).touch()
    # The pool processes of a killed worker look like main ones until they end, so a
    # new process does not yet mean that the manager has seen the death.
    eventually(lambda: stack.said("ended (-9)"), stack.output)
    eventually(lambda: main_workers(stack) - {before}, stack.output)
    assert before not in main_workers(stack)
    assert not (stack.var / KILL_A_WORKER).exists()


def test_orders_cancelled_while_a_worker_is_killed_cost_no_stock_and_no_mail(run):
    stack = run()
    url = stack.up()
    before, ended = audit(stack), partial(nothing_pending, url)
    client = ShopClient(url, links_from(stack.var / "mail"))
    for number in range(24):
        order = client.buy("last-winters-candle", 1, "Ada", "ada@example.com")
        if number % 3:
            client.cancel(order)
        if number == 12:
            (stack.var / KILL_A_WORKER).touch()
    eventually(ended, stack.output)
    after = audit(stack)
    assert after["orders_confirmed"] == 8
    assert after["kept_by_cancelled"] == 0
    assert after["movements_lost"] == after["movements_doubled"] == 0
    assert after["emails_lost"] == 0
    assert after["stock"] + after["taken"] == before["stock"]


def test_a_request_to_stop_while_it_starts_is_heeded(run):
    stack = run()
    eventually(lambda: stack.var.joinpath("stack.lock").exists(), stack.output)
    time.sleep(0.3)
    assert stack.stop() == 0
    assert stack.programs() == set()


def test_with_a_broker_of_ones_own_no_redis_is_started(run, tmp_path):
    with RedisServer(tmp_path / "own") as own:
        stack = run(CELERY_BROKER_URL=own.url)
        stack.up()
        commands = [psutil.Process(pid).name() for pid in stack.programs()]
        assert "redis-server" not in commands
        assert not (stack.var / "redis").exists()
        stack.stop()


def test_with_a_database_of_ones_own_no_file_is_made(run):
    with PostgresServer() as own:
        stack = run(DATABASE_URL=own.url)
        assert get(stack.up()) == 200
        assert not (stack.var / "shop.sqlite3").exists()
        stack.stop()


def nothing_pending(url: str) -> bool:
    request = Request(f"{url}health/", headers={"Authorization": f"Bearer {TOKEN}"})
    with build_opener(ProxyHandler({})).open(request, timeout=20) as answer:
        health = json.load(answer)
    return not health["pending"] + health["running"]


def audit(stack: Run) -> dict[str, int]:
    """What the rows and mails of this stack say."""
    env = {k: v for k, v in os.environ.items() if k not in UNSET}
    env |= {"SHOP_VAR": str(stack.var), "DJANGO_SETTINGS_MODULE": "shop.settings"}
    env |= {"DEBUG": "1"}
    command = [sys.executable, "-m", "shop.audit"]
    counted = subprocess.run(
        command, cwd=ROOT, env=env, check=True, capture_output=True
    )
    return dict(json.loads(counted.stdout))


def main_workers(stack: Run) -> set[int]:
    """The main process of the worker of all queues: one, or none for a moment."""
    workers = set(filter(is_worker, stack.programs()))
    return {pid for pid in workers if parent(pid) not in {None, *workers}}


def is_worker(pid: int) -> bool:
    try:
        return "-nshop@%h" in psutil.Process(pid).cmdline()
    except psutil.Error:  # it has ended meanwhile
        return False


def parent(pid: int) -> int | None:
    try:
        return psutil.Process(pid).ppid()
    except psutil.Error:
        return None
