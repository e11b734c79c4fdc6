"""Run the scenario: start the shop, run workload and faults, check the invariants."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import django
from django.db import DatabaseError, InterfaceError, connection

from chaos.scenarios.client import PASSWORD, Acknowledged, address
from chaos.scenarios.faults import CrashingPostgres, FaultInjector, SlowMailServer
from chaos.scenarios.observations import Observations
from chaos.scenarios.workload import Customer, Staff
from shop.servers import HOST
from shop.stack import Stack, Stopped
from shop.terminal import Screen, show

CUSTOMERS = 8
LEASE = "5"
PATIENCE = 150.0  # longest wait for the end of all deliveries (seconds)
STAFF = "staff"
# All customers come from one network: the limits must not stop them.
LIMITS = ("EMAILS_PER_ADDRESS", "EMAILS_PER_VISITOR", "EMAILS_PER_NETWORK")
EMAILS_PER_HOUR = "100000"


class InvariantsViolated(Exception):
    """At least one invariant of the shop does not hold."""


class Scenario:
    """The workload of all customers, and the wait for their deliveries."""

    def __init__(self, faults: FaultInjector, seed: str) -> None:
        self.faults = faults
        self.acknowledged: list[Acknowledged] = []
        self.counts: Counter[str] = Counter()
        self.cancelled = threading.Event()
        url, mail_server = faults.stack.url, faults.mail_server
        self.customers = [
            Customer(number, url, mail_server, seed) for number in range(CUSTOMERS)
        ]
        self.customers.append(Staff(CUSTOMERS, url, mail_server, seed))
        self.customers[-1].name = STAFF

    def run(self) -> None:
        """Have all customers visit the shop until all faults are injected; wait."""
        with ThreadPoolExecutor(len(self.customers)) as threads:
            visits = [
                threads.submit(customer.visit_until, self.over)
                for customer in self.customers
            ]
        for customer, visit in zip(self.customers, visits, strict=True):
            visit.result()
            self.acknowledged += customer.acknowledged
            self.counts += customer.counts
        self.wait_for_deliveries()

    def over(self) -> bool:
        """Return whether the customers have to stop."""
        return self.faults.done or self.cancelled.is_set()

    def wait_for_deliveries(self) -> None:
        """Wait until all deliveries have finished; the checker reports the others."""
        started = time.monotonic()
        while time.monotonic() < started + PATIENCE and not self.cancelled.is_set():
            if all_finished():
                break
            time.sleep(0.3)
        self.counts["seconds from the last visit to the last delivery"] = round(
            time.monotonic() - started
        )

    def observations(self, initial_stock: Mapping[int, int]) -> Observations:
        """Return the observations from outside of the database."""
        mail_server = self.faults.mail_server
        return Observations(
            initial_stock=initial_stock,
            messages=list(zip(mail_server.arrivals, mail_server.received, strict=True)),
            injected=self.faults.injected,
            acknowledged=self.acknowledged,
        )


def all_finished() -> bool:
    """Return whether no delivery is pending or running, as far as we can ask."""
    from signal_tasks.models import Delivery  # after django.setup()

    try:
        return not Delivery.objects.live().exists()
    except (DatabaseError, InterfaceError):
        connection.close()
        return False


def run(folder: Path, seed: str, seconds: float) -> None:
    """Run the scenario in this folder; raise if an invariant does not hold."""
    mail_server = SlowMailServer()
    mail_server.open()
    try:
        with (
            CrashingPostgres(fsync=True) as database,
            (folder / "stack.log").open("w") as log,
        ):
            stack = _stack(folder, database, mail_server, log_to=Screen(log))
            rng = random.Random(seed)  # noqa: S311
            faults = FaultInjector(stack, database, mail_server, rng)
            with stack:
                valid = _run(faults, seed, seconds)
    finally:
        mail_server.close()
    if not valid:
        raise InvariantsViolated


def _stack(
    folder: Path,
    database: CrashingPostgres,
    mail_server: SlowMailServer,
    log_to: Screen,
) -> Stack:
    os.environ.update(
        DATABASE_URL=database.url,
        DEBUG="1",
        DJANGO_SETTINGS_MODULE="shop.settings",
        DJANGO_SUPERUSER_PASSWORD=PASSWORD,
        EMAIL_URL=f"smtp://{HOST}:{mail_server.port}",
        SIGNAL_TASKS_LEASE=LEASE,
        **dict.fromkeys(LIMITS, EMAILS_PER_HOUR),
    )
    stack = Stack(folder, say=log_to, web_port=0, flower_port=0)
    del stack.supervisor.programs["flower"]
    stack.handle_signals()
    os.environ.update(stack.env)
    show(f"  starting the shop on {stack.url}")
    return stack


def _run(faults: FaultInjector, seed: str, seconds: float) -> bool:
    """Run workload and faults; report, and return whether all invariants hold."""
    superuser = (f"--username={STAFF}", f"--email={address(STAFF)}")
    faults.stack.manage("createsuperuser", "--noinput", *superuser)
    os.environ["LOG_LEVEL"] = "WARNING"  # for this process: the others have started
    django.setup()
    from chaos.scenarios import report  # these need django.setup()
    from chaos.scenarios.invariants import checker, stock

    initial_stock = stock.current_stock()
    connection.close()  # the faults of PostgreSQL would break it
    scenario = Scenario(faults, seed)
    show(f"  {CUSTOMERS} customers; faults are injected for {seconds:.0f} s")
    faults.schedule(seconds)
    _run_in_thread(faults, scenario)
    observed = scenario.observations(initial_stock)
    result = checker.check(observed)
    report.report(result, observed, scenario.counts)
    return result.valid


def _run_in_thread(faults: FaultInjector, scenario: Scenario) -> None:
    """Run the scenario in a thread; run the stack and inject faults in this one."""
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(scenario.run)

        def over() -> bool:
            faults.tick()
            return running.done()

        try:
            faults.stack.run(until=over)
        finally:
            scenario.cancelled.set()
        if faults.stack.stop_requests:
            raise Stopped
        running.result()
