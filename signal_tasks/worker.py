"""What a Celery worker gets when ``signal_tasks`` is installed.

Connected to Celery's own signals by ``apps``, so that ``celery -A <app> worker``
needs no option: a relay in a thread of the main process, database connections
that are kept between messages, the queues of all receivers, a consumer that is
hard to kill, and a stop that hands deliveries back.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from typing import Any

from celery import signals as celery_signals
from celery.concurrency import solo
from django.db import close_old_connections

from signal_tasks import stops
from signal_tasks.broker import ReceiverTask, load_transport
from signal_tasks.conf import settings
from signal_tasks.consumer import STOCK_CONSUMERS, SurvivingConsumer
from signal_tasks.groups import process
from signal_tasks.holdings import Holdings
from signal_tasks.registry import registry
from signal_tasks.relay_step import RelayStep

#: Least time between two looks at the health of kept connections (seconds).
CHECK_SECONDS = 1.0


def prepare() -> None:
    """Listen for the start of a Celery worker in this process."""
    uid = "signal_tasks.worker"
    celery_signals.worker_init.connect(_worker_init, weak=False, dispatch_uid=uid)
    celery_signals.worker_process_init.connect(
        stops.worker_process_init, weak=False, dispatch_uid=uid
    )
    celery_signals.worker_shutting_down.connect(
        _worker_shutting_down, weak=False, dispatch_uid=uid
    )


def _worker_init(sender: Any, **_: object) -> None:
    process.name = sender.hostname
    process.main_pid = os.getpid()
    process.stopping = False
    _consume_all_queues(sender.app)
    _keep_connections(sender.app)
    load_transport()
    if sender.consumer_cls in STOCK_CONSUMERS:
        sender.consumer_cls = SurvivingConsumer
    if sender.pool_cls in ("solo", solo.TaskPool):
        sender.pool_cls = stops.StoppableSolo
    if settings().RELAY_IN_WORKER:
        process.holdings = Holdings()
        sender.app.steps["worker"].add(RelayStep)
    _share_memory()


def _share_memory() -> None:
    """Keep the garbage collector away from what is here before the pool is forked.

    It would write to every page of it, which then is shared no more: twelve megabytes
    for each process. Celery has it run before each fork.
    """
    gc.collect()
    gc.freeze()


def _worker_shutting_down(**_: object) -> None:
    process.stopping = True


# -- queues -----------------------------------------------------------------------


def _consume_all_queues(app: Any) -> None:
    """Serve the queues that receivers name, unless ``-Q`` says which to serve."""
    queues = app.amqp.queues
    if getattr(queues, "_consume_from", None) is not None:
        return
    named = {settings().QUEUE, *(r.options.queue for r in registry.receivers())}
    for queue in sorted(filter(None, named)):
        queues.select_add(queue)


# -- database connections ---------------------------------------------------------


def _keep_connections(app: Any) -> None:
    """Keep connections between messages, as CONN_MAX_AGE says.

    Celery's Django fixup closes every connection before and after every task. For
    the tasks of receivers Django's own rule is used instead, as between requests;
    for all other tasks the fixup does what it did. Its place in the app is not
    public: where it is not found, connections are closed as by stock Celery.
    """
    for fixup in getattr(app, "_fixups", ()):
        worker_fixup = getattr(fixup, "worker_fixup", None)
        stock_prerun = getattr(worker_fixup, "on_task_prerun", None)
        stock_postrun = getattr(worker_fixup, "on_task_postrun", None)
        if stock_prerun is not None and stock_postrun is not None:
            _replace(celery_signals.task_prerun, stock_prerun)
            _replace(celery_signals.task_postrun, stock_postrun)


def _replace(task_signal: Any, stock: Any) -> None:
    def around_task(sender: Any, **kwargs: Any) -> None:
        if not isinstance(sender, ReceiverTask):
            stock(sender=sender, **kwargs)
        elif not getattr(sender.request, "is_eager", False):
            _close_old_connections()

    if task_signal.disconnect(stock) is not False:
        task_signal.connect(around_task, weak=False)


def _close_old_connections() -> None:
    """As between requests, but asking the server no more than once a second.

    A take whose connection broke in between is made again over a new one.
    """
    now = time.monotonic()
    if now - getattr(_looked_at, "time", 0.0) >= CHECK_SECONDS:
        _looked_at.time = now
        close_old_connections()


_looked_at = threading.local()
