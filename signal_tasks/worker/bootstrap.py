"""Prepare a Celery worker when it starts.

Connected to Celery's own signals by ``apps``: a relay in a thread of the main
process, database connections that are kept between messages, the queues of all
receivers, a consumer that survives malformed messages and outages, and a shutdown
that releases deliveries.
"""

from __future__ import annotations

import gc
import os
import uuid
from collections.abc import Callable
from typing import Any

from celery import signals as celery_signals
from celery.concurrency import solo

from signal_tasks.broker.config import load_transport
from signal_tasks.conf import settings
from signal_tasks.delivery.leases import LeaseTable
from signal_tasks.delivery.process import process
from signal_tasks.registry.registry import registry
from signal_tasks.telemetry import recording
from signal_tasks.worker.announcement import announce
from signal_tasks.worker.connections import keep_connections
from signal_tasks.worker.consumer import STOCK_CONSUMERS, ResilientConsumer
from signal_tasks.worker.pools import forks, prepare_pool
from signal_tasks.worker.relay_thread import RelayStep
from signal_tasks.worker.shutdown import (
    ReleasingSoloPool,
    worker_process_init,
    worker_process_shutdown,
)


def prepare(connect: Callable[[], None]) -> None:
    """Listen for the start of a Celery worker in this process.

    The worker then calls ``connect``, for receivers that only workers know.
    """
    uid = "signal_tasks.worker"

    def worker_init(sender: Any, **_: object) -> None:
        connect()
        _worker_init(sender)

    celery_signals.worker_init.connect(worker_init, weak=False, dispatch_uid=uid)
    celery_signals.worker_process_init.connect(
        worker_process_init, weak=False, dispatch_uid=uid
    )
    celery_signals.worker_process_shutdown.connect(
        worker_process_shutdown, weak=False, dispatch_uid=uid
    )
    celery_signals.worker_shutting_down.connect(
        _worker_shutting_down, weak=False, dispatch_uid=uid
    )


def _worker_init(sender: Any) -> None:
    prepare_pool(sender)
    process.name = sender.hostname
    process.main_pid = os.getpid()
    process.stopping = False
    process.time_limit = sender.time_limit
    process.soft_time_limit = sender.soft_time_limit
    _consume_all_queues(sender.app)
    keep_connections(sender)
    load_transport()
    if sender.consumer_cls in STOCK_CONSUMERS:
        sender.consumer_cls = ResilientConsumer
    if sender.pool_cls in ("solo", solo.TaskPool):
        sender.pool_cls = ReleasingSoloPool
    process.worker_id = uuid.uuid4()
    sender.app.steps["worker"].add(RelayStep)
    recording.start()
    announce(sender)
    if settings().RELAY_IN_WORKER and forks(sender):
        process.leases = LeaseTable()
    _load_what_runs_messages()
    _share_memory()


def _load_what_runs_messages() -> None:
    """Load it once, not in each process of the pool at its first message."""
    from signal_tasks.delivery import message  # noqa: F401


def _share_memory() -> None:
    """Exempt what exists before the pool is forked from garbage collection.

    The collector would write to every page of it, which then is shared no more:
    twelve megabytes for each process. Celery runs it before each fork.
    """
    gc.collect()
    gc.freeze()


def _worker_shutting_down(**_: object) -> None:
    process.stopping = True


def _consume_all_queues(app: Any) -> None:
    """Serve the queues that receivers name, unless ``-Q`` says which to serve."""
    queues = app.amqp.queues
    if getattr(queues, "_consume_from", None) is not None:
        return
    named = {settings().QUEUE, *(each.queue for each in registry.receivers())}
    for queue in sorted(filter(None, named)):
        queues.select_add(queue)
