"""``make demo``: order while a worker is killed, then count what was lost.

200 orders are placed and confirmed over HTTP while one worker is killed as a power
cut would kill it, and started again. Then rows and emails are counted. It exits with
0 only if nothing was lost and no stock movement happened twice.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from shop.http_client import ShopClient
from shop.mail_folder import links_from
from shop.stack import BASE_DIR, Stack, StackError, Stopped
from shop.terminal import Screen, show

ORDERS = 200
CUSTOMERS = 4
# Seconds after which the deliveries of a killed worker run again. An email that it was
# sending waits longer: for its time limit of 20 seconds, and 10 more.
LEASE = 10
DELIVERY_TIMEOUT = 180.0  # seconds until all deliveries must have finished
# Unset, so that the demo has services of its own and counts only its own orders.
UNSET = (
    "DATABASE_URL", "CELERY_BROKER_URL", "REDIS_URL", "EMAIL_URL", "DEBUG",
)  # fmt: skip


class Demo:
    """Buy, kill a worker, wait, count."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.bought = 0
        self.lock = threading.Lock()

    def run(self) -> bool:
        """Run the demo, print the totals, and return True if nothing was lost."""
        before = self.audit()
        began = time.monotonic()
        self.buy()
        show(f"  {ORDERS} orders confirmed in {time.monotonic() - began:.0f} s")
        health = self.wait_for_deliveries()
        show(
            f"  all deliveries finished {time.monotonic() - began:.0f} s after the start"
        )
        return report(before, self.audit(), health)

    def buy(self) -> None:
        """Let a few customers buy at the same time; kill a worker after half of it."""
        with ThreadPoolExecutor(CUSTOMERS) as customers:
            visits = [customers.submit(self._visit, n) for n in range(CUSTOMERS)]
            for visit in visits:
                visit.result()

    def _visit(self, customer: int) -> None:
        """Order many times in one visit; its first order proves the address."""
        name, email = f"Customer {customer}", f"customer{customer}@example.com"
        client = ShopClient(self.stack.url, links_from(self.stack.var / "mail"))
        products = client.products()
        for number in range(customer, ORDERS, CUSTOMERS):
            client.buy(products[number % len(products)], 1 + number % 3, name, email)
            self._count_one()

    def _count_one(self) -> None:
        with self.lock:
            self.bought += 1
            if self.bought == ORDERS // 2:
                self.kill_a_worker()

    def kill_a_worker(self) -> None:
        """Kill the worker that serves all queues, with its children."""
        worker = self.stack.supervisor.programs["worker"]
        show(f"  {self.bought} orders confirmed: kill -9 of one whole worker")
        worker.kill()

    def wait_for_deliveries(self) -> dict[str, Any]:
        """Wait until no delivery is pending or running, or until the timeout."""
        deadline = time.monotonic() + DELIVERY_TIMEOUT
        while True:
            health = self.health()
            if not health["pending"] + health["running"]:
                return health
            if time.monotonic() > deadline:
                show("  Some deliveries did not finish in time.")
                return health
            time.sleep(0.5)

    def health(self) -> dict[str, Any]:
        """Return the health report of the shop, which it gives with 200 or 503."""
        token = f"Bearer {self.stack.env['HEALTH_TOKEN']}"
        request = Request(f"{self.stack.url}/health/", headers={"Authorization": token})  # noqa: S310 -- the URL is ours
        opener = build_opener(ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return dict(json.load(answer))
        except HTTPError as answer:
            return dict(json.load(answer))

    def audit(self) -> dict[str, int]:
        """Return the counts of ``shop.audit``."""
        counted = subprocess.run(
            [sys.executable, "-m", "shop.audit"],
            cwd=BASE_DIR,
            env=self.stack.env,
            check=True,
            stdout=subprocess.PIPE,
        )
        return dict(json.loads(counted.stdout))


def report(
    before: dict[str, int], after: dict[str, int], health: dict[str, Any]
) -> bool:
    """Print the totals; return True if nothing was lost or taken twice."""
    undelivered = health["pending"] + health["running"] + health["dead"]
    unbooked = abs(before["stock"] - after["stock"] - after["taken"])
    missing_orders = ORDERS - after["orders_confirmed"]
    lost = (
        missing_orders
        + after["movements_lost"]
        + after["emails_lost"]
        + undelivered
        + health["orphaned"]
    )
    doubled = after["movements_doubled"] + unbooked
    rows = {
        "orders confirmed": after["orders_confirmed"],
        "  of these back-ordered": after["orders_back_ordered"],
        "inventory movements": after["movements"],
        "  pieces taken from stock": after["taken"],
        "emails sent": after["emails"],
        **{f"deliveries {state}": health[state] for state in STATES},
        "lost": lost,
        "inventory movements doubled": doubled,
        "emails doubled": after["emails_doubled"],
    }
    show("", *(f"  {label:<30}{count:>7}" for label, count in rows.items()), "")
    if after["emails_doubled"]:
        show(
            "  An email is sent at least once: a worker killed after the mail server's answer",
            "  and before its own commit sends it again, under the same Message-ID.",
            "",
        )
    return not lost and not doubled


STATES = ("succeeded", "pending", "running", "dead", "discarded")


@contextmanager
def data_folder() -> Iterator[Path]:
    """Make a temporary folder; keep it only if the demo fails."""
    folder = Path(tempfile.mkdtemp(prefix="shop-demo-"))
    try:
        yield folder
    except BaseException:
        show(f"  The log is {folder / 'stack.log'}.")
        raise
    shutil.rmtree(folder, ignore_errors=True)


def run_in(folder: Path) -> None:
    """Start the stack in this folder, and run the demo on it."""
    with (folder / "stack.log").open("w") as log:
        stack = Stack(folder, say=Screen(log), web_port=0, flower_port=0)
        stack.handle_signals()
        show(f"  starting the shop on {stack.url}, Flower on {stack.flower_url}")
        # In this order: the stack stops first, so that a running demo ends by an error.
        with ThreadPoolExecutor(1) as threads, stack:
            demo = threads.submit(Demo(stack).run)
            stack.run(until=demo.done)
            if not demo.done():
                raise Stopped
            if not demo.result():
                raise StackError("Something was lost, or taken twice.")
            show("  stopping")


def main() -> int:
    """Run the demo in a temporary folder."""
    for name in UNSET:
        os.environ.pop(name, None)
    os.environ.update(SIGNAL_TASKS_LEASE=str(LEASE))
    try:
        with data_folder() as folder:
            run_in(folder)
    except (StackError, Stopped) as error:
        sys.stderr.write(f"The demo failed. {error}\n")
        return 1
    show("Nothing was lost, and no stock was taken twice.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
