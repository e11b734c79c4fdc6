"""The catalogue of faults, with the conditions for each."""

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
    """One fault, and the conditions under which it can be injected."""

    name: str
    title: str
    inject: Inject
    group: str
    databases: Collection[str] = EVERYWHERE
    brokers: Collection[str] = EVERYWHERE
    needs: Collection[str] = ()  # "database", "broker": servers that we may kill
    may_spend_attempt: bool = True  # of a delivery
    may_repeat: bool = True  # a run of a non-atomic receiver
    while_busy: bool = True  # hurts what is under way: it has to wait for that
    mixed: bool = True  # also injected at random among others
    short: bool = True  # part of the short form
    only_by_name: bool = False  # injected only if --faults names it

    def applies(self, env: Environment) -> bool:
        """Return whether it can be injected on these servers."""
        return (
            (not self.databases or env.vendor in self.databases)
            and (not self.brokers or env.transport in self.brokers)
            and not ("database" in self.needs and env.database is None)
            and not ("broker" in self.needs and env.broker is None)
        )


CATALOGUE: dict[str, Fault] = {}


def fault(title: str, **options: object) -> Callable[[Inject], Inject]:
    """Add the decorated function to the catalogue, under its own name."""

    def decorate(inject: Inject) -> Inject:
        name = inject.__name__.replace("_", "-")
        group = inject.__module__.rpartition(".")[2]
        add(Fault(name=name, title=title, inject=inject, group=group, **options))  # type: ignore[arg-type]
        return inject

    return decorate


def add(entry: Fault) -> None:
    """Add a fault to the catalogue."""
    CATALOGUE[entry.name] = entry


def selected(names: Collection[str], env: Environment) -> Iterator[Fault]:
    """Yield the faults with these names or groups (default: all) that apply here."""
    for entry in CATALOGUE.values():
        if not names:
            wanted = not entry.only_by_name and (entry.short or not env.short)
        else:
            wanted = bool({entry.name, entry.group} & set(names))
        if wanted and entry.applies(env):
            yield entry
