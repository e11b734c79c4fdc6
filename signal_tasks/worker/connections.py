"""Keep database connections between messages, as CONN_MAX_AGE says.

Celery's Django fixup closes every connection before and after every task. For the
tasks of receivers Django's own rules are used instead, as between requests.

# Note [Connections of a worker]
A connection is kept by the thread that uses it. It is closed after the message when
it is too old (CONN_MAX_AGE), when it belongs to Django's pool, where others wait for
it, and when its thread ends with the message, as the greenlets of gevent and eventlet
do. A pool belongs to one process: a child of the prefork pool makes its own, and the
relay, which lives in the process that forks, takes its connection from none.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from celery import signals as celery_signals
from django.db import close_old_connections, connections

from signal_tasks.db.session import forget_transaction, is_pooled
from signal_tasks.delivery.tasks import ReceiverTask

#: Least time between two checks of kept connections (seconds).
CHECK_SECONDS = 1.0
#: Pools of Celery that run each task in a greenlet of its own.
GREENLETS = ("gevent", "eventlet")


def keep_connections(worker: Any) -> None:
    """Replace what the fixup does around the tasks of receivers, and only there.

    The place of the fixup in the app is not public: where it is not found,
    connections are closed as by stock Celery.
    """
    pool = worker.pool_cls
    name = pool if isinstance(pool, str) else pool.__module__
    _kept.none = any(green in name for green in GREENLETS)
    for fixup in getattr(worker.app, "_fixups", ()):
        worker_fixup = getattr(fixup, "worker_fixup", None)
        stock_prerun = getattr(worker_fixup, "on_task_prerun", None)
        stock_postrun = getattr(worker_fixup, "on_task_postrun", None)
        if stock_prerun is not None and stock_postrun is not None:
            _replace(celery_signals.task_prerun, stock_prerun, _check)
            _replace(celery_signals.task_postrun, stock_postrun, _give_back)
    os.register_at_fork(after_in_child=_forget_pools)


def _replace(task_signal: Any, stock: Any, ours: Any) -> None:
    def around_task(sender: Any, **kwargs: Any) -> None:
        if not isinstance(sender, ReceiverTask):
            stock(sender=sender, **kwargs)
        elif not getattr(sender.request, "is_eager", False):
            ours()

    if task_signal.disconnect(stock) is not False:
        task_signal.connect(around_task, weak=False)


def _check() -> None:
    """Close old connections as between requests, at most once in CHECK_SECONDS.

    A claim whose connection broke in between is made again over a new one.
    """
    now = time.monotonic()
    if now - getattr(_checked, "at", 0.0) >= CHECK_SECONDS:
        _checked.at = now
        close_old_connections()


def _give_back() -> None:
    """Close what this thread may not keep; see Note [Connections of a worker].

    Nothing of a message is under way any more: a transaction that is still open was
    left by a receiver, and would swallow all that comes.
    """
    now = time.monotonic()
    for connection in connections.all(initialized_only=True):
        if connection.connection is None:
            continue
        is_old = connection.close_at is not None and now >= connection.close_at
        left_open = connection.in_atomic_block or not connection.autocommit
        if _kept.none or is_old or left_open or is_pooled(connection):
            forget_transaction(connection)
            connection.close()


def _forget_pools() -> None:
    """Have this child make pools of its own, and leave those of its parent alone.

    They stay referenced: a pool that is collected ends its threads, which do not
    exist here.
    """
    for connection in connections.all():
        pools = getattr(connection, "_connection_pools", None)
        if pools:
            _inherited.append(dict(pools))
            pools.clear()


class _Kept:
    """The connections that are kept between messages."""

    none = False


_kept = _Kept()
_checked = threading.local()
_inherited: list[dict[str, Any]] = []
