"""``make demo``: the promise, shown without a person.

200 orders are placed and confirmed over HTTP while one worker is killed as a power
cut would kill it, and started again. Then rows and emails are counted. It ends with
0 only if nothing was lost and no inventory movement happened twice.
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
from urllib.request import ProxyHandler, build_opener

from shop.shopper import Shopper
from shop.stack import BASE_DIR, Stack, StackError, Stopped
from shop.terminal import Screen, show

ORDERS = 200
SHOPPERS = 4
# Seconds after which the work of a killed worker is taken up again. An email that it
# was sending waits longer: for its time limit of 20 seconds, and 10 more.
LEASE = 10
PATIENCE = 180.0
# The demo brings its own of these, so that it counts nobody else's orders.
OWN = (
    "DATABASE_URL", "CELERY_BROKER_URL", "REDIS_URL", "EMAIL_URL", "DEBUG",
)  # fmt: skip


class Demo:
    """The story: buy, kill, wait, count."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.bought = 0
        self.lock = threading.Lock()

    def run(self) -> bool:
        """Tell the story, print the table, and say whether it ended well."""
        before = self.audit()
        began = time.monotonic()
        self.buy()
        show(f"  {ORDERS} orders confirmed in {time.monotonic() - began:.0f} s")
        health = self.wait_for_the_end()
        show(f"  all deliveries ended {time.monotonic() - began:.0f} s after the start")
        return report(before, self.audit(), health)

    def buy(self) -> None:
        """Let a few shoppers buy at the same time; one purchase is the killer's."""
        products = Shopper(self.stack.url).products()
        with ThreadPoolExecutor(SHOPPERS) as shoppers:
            purchases = [
                shoppers.submit(self._buy_one, number, products[number % len(products)])
                for number in range(ORDERS)
            ]
            for purchase in purchases:
                purchase.result()

    def _buy_one(self, number: int, product: str) -> None:
        name, email = f"Customer {number}", f"customer{number}@example.com"
        Shopper(self.stack.url).buy(product, 1 + number % 3, name, email)
        with self.lock:
            self.bought += 1
            if self.bought == ORDERS // 2:
                self.kill_a_worker()

    def kill_a_worker(self) -> None:
        """Kill the worker that serves all queues: its main process and its children."""
        worker = self.stack.supervisor.programs["worker"]
        show(f"  {self.bought} orders confirmed: kill -9 of one whole worker")
        worker.kill()

    def wait_for_the_end(self) -> dict[str, Any]:
        """Wait until no delivery is owed any more, or patience ends."""
        deadline = time.monotonic() + PATIENCE
        while True:
            health = self.health()
            if not health["pending"] + health["running"]:
                return health
            if time.monotonic() > deadline:
                show("  Patience has ended before the deliveries have.")
                return health
            time.sleep(0.5)

    def health(self) -> dict[str, Any]:
        """Ask the shop how it is; 503 says unwell, in the same words."""
        opener = build_opener(ProxyHandler({}))
        try:
            with opener.open(f"{self.stack.url}/health/", timeout=30) as answer:
                return dict(json.load(answer))
        except HTTPError as answer:
            return dict(json.load(answer))

    def audit(self) -> dict[str, int]:
        """Count what rows and mail folder say."""
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
    """Print the table and return whether nothing was lost or taken twice."""
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
            "  An email is sent at least once: a worker killed between the mail server's",
            "  answer and its note of it sends again, under the same Message-ID.",
            "",
        )
    return not lost and not doubled


STATES = ("succeeded", "pending", "running", "dead", "discarded")


@contextmanager
def stage() -> Iterator[Path]:
    """Give a folder for the data, kept only if the demo fails."""
    folder = Path(tempfile.mkdtemp(prefix="shop-demo-"))
    try:
        yield folder
    except BaseException:
        show(f"  What was said is in {folder / 'stack.log'}.")
        raise
    shutil.rmtree(folder, ignore_errors=True)


def perform(folder: Path) -> None:
    """Start the stack in this folder and play the story on it."""
    with (folder / "stack.log").open("w") as log:
        stack = Stack(folder, say=Screen(log), web_port=0, flower_port=0)
        stack.heed_signals()
        show(f"  starting the shop on {stack.url}, Flower on {stack.flower_url}")
        # In this order: the stack stops first, which ends a story that still runs.
        with ThreadPoolExecutor(1) as director, stack:
            story = director.submit(Demo(stack).run)
            stack.run(until=story.done)
            if not story.done():
                raise Stopped
            if not story.result():
                raise StackError("Something was lost, or taken twice.")
            show("  stopping")


def main() -> int:
    """Play the demo in a world of its own."""
    for name in OWN:
        os.environ.pop(name, None)
    os.environ.update(SIGNAL_TASKS_LEASE=str(LEASE))
    try:
        with stage() as folder:
            perform(folder)
    except (StackError, Stopped) as error:
        sys.stderr.write(f"The demo failed. {error}\n")
        return 1
    show("Nothing was lost, and no stock was taken twice.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
