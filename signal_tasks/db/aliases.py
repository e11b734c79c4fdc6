"""Which databases hold an outbox, and which of them an event belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections, models, router

from signal_tasks.conf import settings


def outbox_aliases() -> list[str]:
    """Return the aliases of the databases that hold an outbox."""
    given = settings().DATABASES
    if isinstance(given, list | tuple):  # anything else is left to ``check``
        return list(given)
    routers = tuple(router.routers)
    return [alias for alias in connections if _may_hold_an_outbox(alias, routers)]


@lru_cache(maxsize=64)
def _may_hold_an_outbox(alias: str, routers: tuple[object, ...]) -> bool:
    mirror = connections[alias].settings_dict.get("TEST", {}).get("MIRROR")
    event_model = apps.get_model("signal_tasks", "Event")
    return not mirror and bool(router.allow_migrate_model(alias, event_model))


def alias_for(database: str | None, sender: object) -> str:
    """Return the alias of the transaction that an event belongs to.

    ``database``, if it is given; else the alias that the routers name for writing an
    event of this sender; else, when that one has no transaction open, the only one
    that has.

    Raises:
        ImproperlyConfigured: the database holds no outbox.
    """
    candidates = outbox_aliases()
    if database is not None:
        return check_alias(database, candidates)
    hints = {"instance": sender} if isinstance(sender, models.Model) else {}
    preferred = router.db_for_write(apps.get_model("signal_tasks", "Event"), **hints)
    if candidates == [preferred]:
        return preferred
    open_ones = [alias for alias in candidates if _has_transaction(alias)]
    if len(open_ones) == 1:
        return open_ones[0]
    if preferred in candidates:
        return preferred
    return check_alias(DEFAULT_DB_ALIAS, candidates)


def _has_transaction(alias: str) -> bool:
    """Return True if one is open, apart from those that a TestCase opens."""
    blocks = connections[alias].atomic_blocks
    return any(not getattr(block, "_from_testcase", False) for block in blocks)


def check_alias(database: str, candidates: Sequence[str]) -> str:
    """Return the alias, or raise ``ImproperlyConfigured`` if it holds no outbox."""
    if database not in candidates:
        raise ImproperlyConfigured(
            f"The database {database!r} holds no outbox; those that do are "
            f"{', '.join(candidates)}. Add it to SIGNAL_TASKS['DATABASES'] and "
            "migrate it, or name another one with using(database=...)."
        )
    return database
