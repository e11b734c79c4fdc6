"""The catalogue: what a fault is, and where it can be made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from chaos.stage import Stage

POSTGRES, MARIADB, SQLITE = "postgresql", "mariadb", "sqlite"
REDIS, RABBITMQ = "redis", "amqp"
SERVERS = (POSTGRES, MARIADB)
EVERYWHERE: tuple[str, ...] = ()

Strike = Callable[[Stage], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way to do harm, and where and how it is to be done."""

    name: str
    title: str
    strike: Strike
    group: str
    databases: Collection[str] = EVERYWHERE
    brokers: Collection[str] = EVERYWHERE
    needs: Collection[str] = ()  # "database", "broker": a server of our own
    spends: bool = True  # whether it may cost a delivery an attempt
    repeats: bool = True  # whether a non-atomic receiver may run again for it
    mixed: bool = True  # whether it may strike at any moment among others
    short: bool = True  # whether the short form has it
    asked: bool = False  # whether it is made only when asked for by name

    def applies(self, stage: Stage) -> bool:
        """Whether it can be made on these servers."""
        return (
            (not self.databases or stage.vendor in self.databases)
            and (not self.brokers or stage.transport in self.brokers)
            and not ("database" in self.needs and stage.database is None)
            and not ("broker" in self.needs and stage.broker is None)
        )


CATALOGUE: dict[str, Fault] = {}


def fault(title: str, **options: object) -> Callable[[Strike], Strike]:
    """Enter a function into the catalogue, under its own name."""

    def enter(strike: Strike) -> Strike:
        name = strike.__name__.replace("_", "-")
        group = strike.__module__.rpartition(".")[2]
        add(Fault(name=name, title=title, strike=strike, group=group, **options))  # type: ignore[arg-type]
        return strike

    return enter


def add(entry: Fault) -> None:
    """Enter a fault into the catalogue."""
    CATALOGUE[entry.name] = entry


def chosen(names: Collection[str], stage: Stage) -> Iterator[Fault]:
    """The faults of these names (or all of them) that can be made here."""
    for entry in CATALOGUE.values():
        if not names:
            wanted = not entry.asked and (entry.short or not stage.short)
        else:
            wanted = bool({entry.name, entry.group} & set(names))
        if wanted and entry.applies(stage):
            yield entry
