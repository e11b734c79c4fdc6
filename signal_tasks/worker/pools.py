"""The pools of Celery that receivers run in: one is refused, of others a limit is told.

``docs/operating.md`` has the table of what each pool can do.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from celery import signals as celery_signals
from celery.concurrency import ALIASES
from django.db import connections

from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.registry.registry import Receiver, registry

GEVENT, EVENTLET = "celery.concurrency.gevent", "celery.concurrency.eventlet"
#: Pools that run messages in the worker's main process.
IN_MAIN_PROCESS = {
    GEVENT: "gevent",
    "celery.concurrency.thread": "threads",
    "celery.concurrency.solo": "solo",
}

NO_EVENTLET = (
    "The eventlet pool is not supported: eventlet is in maintenance only, and async "
    "receivers cannot run beside its greenlets. Start the worker with --pool prefork, "
    "threads, gevent or solo."
)
UNKNOWN_GREEN = (
    "The pool {pool} runs greenlets and is not Celery's own. Start the worker with "
    "--pool prefork, threads, gevent or solo."
)
NOT_PATCHED = (
    "The gevent pool needs gevent's monkey patches before anything is imported. Start "
    "the worker as: celery -A <app> worker --pool gevent"
)
BLOCKING = (
    "The driver {driver} of the database {database!r} stops all greenlets while it "
    "waits for the server, and for ever where it waits for the lock of another "
    "greenlet. With --pool gevent use psycopg 3 or PyMySQL; else "
    "start the worker with --pool prefork, threads or solo."
)
NO_LIMITS = (
    "The %s pool ends no receiver at its time limit: timeout= bounds only the lease of "
    "%s. Use the prefork pool for receivers that may hang."
)

logger = logging.getLogger("signal_tasks")


def prepare_pool(worker: Any) -> None:
    """Refuse a pool in which receivers would not run right; prepare the others.

    Celery only logs what a listener of its signals raises, unless that ends the
    process.
    """
    reason = refusal(worker.pool_cls)
    if reason:
        raise SystemExit(f"signal_tasks: {reason}")
    module = module_of(worker.pool_cls)
    if module == GEVENT:
        from signal_tasks.worker import greenlets  # imports gevent

        greenlets.run_event_loops_in_threads()
        worker.pool_cls = greenlets.GreenletPool
    name = IN_MAIN_PROCESS.get(module)
    if name is not None:
        celery_signals.celeryd_after_setup.connect(
            lambda **_: tell_limits(name, worker.app),
            weak=False,
            dispatch_uid="signal_tasks.pools",
        )


def forks(worker: Any) -> bool:
    """Return True if the pool may run messages in processes of their own."""
    return module_of(worker.pool_cls) not in IN_MAIN_PROCESS


def module_of(pool: Any) -> str:
    """Return the module of a pool, which is given as a class, a path or an alias."""
    path = ALIASES.get(pool, pool) if isinstance(pool, str) else pool.__module__
    return str(path).partition(":")[0]


def refusal(pool: Any) -> str | None:
    """Return the sentence with which a worker with this pool is refused, if it is."""
    module = module_of(pool)
    if module == EVENTLET:
        return NO_EVENTLET
    if module != GEVENT:
        green = getattr(pool, "is_green", False)
        return UNKNOWN_GREEN.format(pool=module) if green else None
    if not _is_patched():
        return NOT_PATCHED
    for alias in outbox_aliases():
        connection: Any = connections[alias]
        driver = connection.Database
        if blocks(driver):
            return BLOCKING.format(driver=driver.__name__, database=alias)
    return None


def _is_patched() -> bool:
    return bool(import_module("gevent.monkey").is_module_patched("threading"))


def blocks(driver: Any) -> bool:
    """Return True if the driver may wait without letting other greenlets run."""
    if driver.__name__ == "psycopg":  # has looked for patches when it was imported
        return bool(driver.waiting.wait.__name__ == "wait_c")
    return bool(driver.__name__ != "pymysql")


def tell_limits(pool: str, app: Any) -> None:
    """Log, once, which receivers have a time limit that this pool does not enforce."""
    names = [each.name for each in _served(app) if each.options.timeout is not None]
    if names:
        logger.warning(NO_LIMITS, pool, ", ".join(names))


def _served(app: Any) -> Iterator[Receiver]:
    """Yield the receivers whose messages may come to this worker."""
    queues = app.amqp.queues.consume_from
    for receiver in registry.receivers():
        if receiver.queue is None or receiver.queue in queues:
            yield receiver
