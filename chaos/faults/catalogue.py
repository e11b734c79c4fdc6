"""The catalogue: what a fault is, and where it can be made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from chaos.environment import Environment

POSTGRES, MARIADB, SQLITE = "postgresql", "mariadb", "sqlite"
REDIS, RABBITMQ = "redis", "amqp"
SERVERS = (POSTGRES, MARIADB)
EVERYWHERE: tuple[str, ...] = ()

Inject = Callable[[Environment], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way to do harm, and where and how it is to be done."""

    name: str
    title: str
    inject: Inject
    group: str
    databases: Collection[str] = EVERYWHERE
    brokers: Collection[str] = EVERYWHERE
    needs: Collection[str] = ()  # "database", "broker": a server of our own
    may_spend_attempt: bool = True  # whether it may cost a delivery an attempt
    may_repeat: bool = True  # whether a non-atomic receiver may run again for it
    mixed: bool = True  # whether it may inject at any moment among others
    short: bool = True  # whether the short form has it
    only_by_name: bool = False  # whether it is made only when asked for by name

    def applies(self, env: Environment) -> bool:
        """Whether it can be made on these servers."""
        return (
            (not self.databases or env.vendor in self.databases)
            and (not self.brokers or env.transport in self.brokers)
            and not ("database" in self.needs and env.database is None)
            and not ("broker" in self.needs and env.broker is None)
        )


CATALOGUE: dict[str, Fault] = {}


def fault(title: str, **options: object) -> Callable[[Inject], Inject]:
    """Enter a function into the catalogue, under its own name."""

    def enter(inject: Inject) -> Inject:
        name = inject.__name__.replace("_", "-")
        group = inject.__module__.rpartition(".")[2]
        add(Fault(name=name, title=title, inject=inject, group=group, **options))  # type: ignore[arg-type]
        return inject

    return enter


def add(entry: Fault) -> None:
    """Enter a fault into the catalogue."""
    CATALOGUE[entry.name] = entry


def chosen(names: Collection[str], env: Environment) -> Iterator[Fault]:
    """The faults of these names (or all of them) that can be made here."""
    for entry in CATALOGUE.values():
        if not names:
            wanted = not entry.only_by_name and (entry.short or not env.short)
        else:
            wanted = bool({entry.name, entry.group} & set(names))
        if wanted and entry.applies(env):
            yield entry
