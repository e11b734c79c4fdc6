"""Keep database connections between messages, as CONN_MAX_AGE says.

Celery's Django fixup closes every connection before and after every task. For the
tasks of receivers Django's own rule is used instead, as between requests.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from celery import signals as celery_signals
from django.db import close_old_connections

from signal_tasks.delivery.tasks import ReceiverTask

#: Least time between two checks of kept connections (seconds).
CHECK_SECONDS = 1.0


def keep_connections(app: Any) -> None:
    """Replace what the fixup does around the tasks of receivers, and only there.

    The place of the fixup in the app is not public: where it is not found,
    connections are closed as by stock Celery.
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
    """Close old connections as between requests, at most once in CHECK_SECONDS.

    A claim whose connection broke in between is made again over a new one.
    """
    now = time.monotonic()
    if now - getattr(_checked, "at", 0.0) >= CHECK_SECONDS:
        _checked.at = now
        close_old_connections()


_checked = threading.local()
