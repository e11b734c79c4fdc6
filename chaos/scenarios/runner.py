"""Opens the shop, lets people in, has it broken meanwhile, and waits for the end."""

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

from chaos.scenarios.client import PASSWORD, Yes, address
from chaos.scenarios.faults import HarshPostgres, SlowOffice, Weather
from chaos.scenarios.invariants.comparison import Observations
from chaos.scenarios.workload import Customer, Staff
from shop.servers import HOST
from shop.stack import Stack, Stopped
from shop.terminal import Screen, show

CUSTOMERS = 4
LEASE = "5"
PATIENCE = 150.0  # longest wait for the end of all deliveries (seconds)
STAFF = "staff"


class InvariantsViolated(Exception):
    """Something is missing, or too much."""


class Story:
    """What people do, and the wait until all of it is delivered."""

    def __init__(self, weather: Weather, seed: str) -> None:
        self.weather = weather
        self.said: list[Yes] = []
        self.counts: Counter[str] = Counter()
        self.enough = threading.Event()
        url, office = weather.stack.url, weather.office
        self.people = [Customer(n, url, office, seed) for n in range(CUSTOMERS)]
        self.people.append(Staff(CUSTOMERS, url, office, seed))
        self.people[-1].name = STAFF

    def run(self) -> None:
        """Have everybody visit the shop until the weather is calm; then wait."""
        with ThreadPoolExecutor(len(self.people)) as shop:
            visits = [shop.submit(p.visit_until, self.over) for p in self.people]
        for person, visit in zip(self.people, visits, strict=True):
            visit.result()
            self.said += person.said
            self.counts += person.counts
        self.wait()

    def over(self) -> bool:
        """Whether nobody needs to come any more."""
        return self.weather.calm or self.enough.is_set()

    def wait(self) -> None:
        """Wait until nothing is owed; the books say what still is after that."""
        began = time.monotonic()
        while time.monotonic() < began + PATIENCE and not self.enough.is_set():
            if nothing_is_owed():
                break
            time.sleep(0.3)
        self.counts["seconds from the last visit to the last delivery"] = round(
            time.monotonic() - began
        )

    def observations(self, opening: Mapping[int, int]) -> Observations:
        """What was seen of it from outside of the database."""
        office = self.weather.office
        return Observations(
            opening=opening,
            messages=list(zip(office.arrivals, office.received, strict=True)),
            made=self.weather.made,
            said=self.said,
        )


def nothing_is_owed() -> bool:
    """Whether every delivery has ended."""
    from signal_tasks.models import Delivery  # after django.setup()

    try:
        return not Delivery.objects.live().exists()
    except (DatabaseError, InterfaceError):
        connection.close()
        return False


def run(folder: Path, seed: str, seconds: float) -> None:
    """Open the shop in this folder and break it; ``InvariantsViolated`` if its books are."""
    office = SlowOffice()
    office.open()
    try:
        with (
            HarshPostgres(fsync=True) as database,
            (folder / "stack.log").open("w") as log,
        ):
            stack = _stack(folder, database, office, log_to=Screen(log))
            weather = Weather(stack, database, office, random.Random(seed))  # noqa: S311
            with stack:
                balanced = _play(weather, seed, seconds)
    finally:
        office.close()
    if not balanced:
        raise InvariantsViolated


def _stack(
    folder: Path, database: HarshPostgres, office: SlowOffice, log_to: Screen
) -> Stack:
    os.environ.update(
        DATABASE_URL=database.url,
        DEBUG="1",
        DJANGO_SETTINGS_MODULE="shop.settings",
        DJANGO_SUPERUSER_PASSWORD=PASSWORD,
        EMAIL_URL=f"smtp://{HOST}:{office.port}",
        SIGNAL_TASKS_LEASE=LEASE,
    )
    stack = Stack(folder, say=log_to, web_port=0, flower_port=0)
    del stack.supervisor.programs["flower"]
    stack.heed_signals()
    os.environ.update(stack.env)
    show(f"  opening the shop on {stack.url}")
    return stack


def _play(weather: Weather, seed: str, seconds: float) -> bool:
    """Open the books, have everything happen, close them, and say if they balance."""
    who = (f"--username={STAFF}", f"--email={address(STAFF)}")
    weather.stack.manage("createsuperuser", "--noinput", *who)
    os.environ["LOG_LEVEL"] = "WARNING"  # of this process: the others have begun
    django.setup()
    from chaos.scenarios import report
    from chaos.scenarios.invariants import all as books
    from chaos.scenarios.invariants import stock as shelves  # after django.setup()

    opening = shelves.opening_stock()
    connection.close()  # PostgreSQL will break it
    story = Story(weather, seed)
    show(f"  {CUSTOMERS} customers come, and for {seconds:.0f} s something breaks")
    weather.plan(seconds)
    _run(weather, story)
    observations = story.observations(opening)
    closed = books.close(observations)
    report.report(closed, observations, story.counts)
    return closed.balanced


def _run(weather: Weather, story: Story) -> None:
    """Let the story run in a thread; this one runs the stack, and breaks it."""
    with ThreadPoolExecutor(1) as director:
        told = director.submit(story.run)

        def over() -> bool:
            weather.tick()
            return told.done()

        try:
            weather.stack.run(until=over)
        finally:
            story.enough.set()
        if weather.stack.wishes_to_stop:
            raise Stopped
        told.result()
