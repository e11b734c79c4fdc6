"""The combinations that are tried, and why these."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
#: The first supported release of each package, and the newest of each series.
DJANGOS = ("5.2.0", "5.2.*", "6.0.*", "6.1.*")
CELERIES = ("5.5.0", "5.6.*", "5.7.*")
#: What has to be installed for each way to reach a database, by the database.
DRIVERS = {
    "sqlite": (),
    "psycopg 3": ("psycopg[binary]",),
    "psycopg 3 with pool": ("psycopg[binary,pool]",),
    "psycopg 2": ("psycopg2-binary",),
    "PyMySQL": ("PyMySQL",),
    "mysqlclient": ("mysqlclient",),
}
ON_MARIADB = ("PyMySQL", "mysqlclient")


@dataclass(frozen=True)
class Combination:
    """One environment: versions as a requirement writes them."""

    python: str
    django: str
    celery: str
    driver: str

    @property
    def requirements(self) -> tuple[str, ...]:
        """Return what is installed beside the package itself."""
        versions = (f"Django=={self.django}", f"celery[redis]=={self.celery}")
        return (*versions, *DRIVERS[self.driver])

    def __str__(self) -> str:
        return (
            f"Python {self.python}, Django {self.django}, "
            f"Celery {self.celery}, {self.driver}"
        )


def belong(python: str, django: str) -> bool:
    """Return True if that Django is tried on that Python.

    Django 6 asks for Python 3.12; nobody begins with the first 5.2 on a later Python.
    """
    minor = int(python.partition(".")[2])
    if django == "5.2.0":
        return minor == 11
    return minor >= 12 or django.startswith("5.2")


def corners(here: Collection[str]) -> tuple[Combination, Combination]:
    """Return the oldest of everything and the newest, on the interpreters that are here."""
    pythons = [python for python in PYTHONS if python in here]
    first, last = pythons[0], pythons[-1]
    newest = [django for django in DJANGOS if belong(last, django)][-1]
    return (
        Combination(first, DJANGOS[0], CELERIES[0], "psycopg 2"),
        Combination(last, newest, CELERIES[-1], "psycopg 3 with pool"),
    )


def combinations() -> Iterator[Combination]:
    """Yield Python x Django x Celery on SQLite; each driver on each Django.

    Celery meets no driver and a driver meets no broker, so the two need not be multiplied.
    """
    for python in PYTHONS:
        for django in DJANGOS:
            if belong(python, django):
                for celery in (CELERIES[0], CELERIES[-1]):
                    yield Combination(python, django, celery, "sqlite")
    for driver in list(DRIVERS)[1:]:
        for python, django, celery in (
            ("3.11", "5.2.0", "5.5.0"),
            ("3.11", "5.2.*", "5.6.*"),
            ("3.12", "6.0.*", "5.6.*"),
            ("3.13", "6.1.*", "5.7.*"),
            ("3.14", "6.1.*", "5.7.*"),
        ):
            yield Combination(python, django, celery, driver)
