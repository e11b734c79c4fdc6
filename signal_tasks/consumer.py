"""The consumer of a Celery worker, without two of its deaths.

Put in the place of Celery's own by ``worker``, never in that of a project's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import celery
from celery.worker.consumer import Consumer

#: What a worker consumes with unless ``worker_consumer`` names another.
STOCK_CONSUMERS = ("celery.worker.consumer:Consumer", Consumer)
#: What Celery's unpacking of a message raises when the message is none of its own.
MISSHAPEN = (ValueError, TypeError, LookupError, AttributeError)


class SurvivingConsumer(Consumer):  # type: ignore[misc]
    """A consumer that outlives misshapen messages, and outages of Redis."""

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Drop a message that cannot be unpacked.

        JSON of an unforeseen shape (a body of ``[]``, headers without an id) raises
        out of Celery's handler, which ends the worker, and the next one, and so on.
        """
        handle = super().create_task_handler(*args, **kwargs)

        def handle_or_drop(message: Any) -> None:
            try:
                handle(message)
            except MISSHAPEN:
                self.on_unknown_message(None, message)

        return handle_or_drop

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Leave the broken connection open for what still refers to it.

        Celery 5.7.0 closes it before the messages that it holds are given back,
        which then fails for want of a connection and ends the worker. Earlier
        releases left the closing to the garbage collector.
        """
        connection = self.connection
        if celery.__version__ == "5.7.0" and _is_redis(connection):
            connection.close = lambda: None
        super().on_connection_error_after_connected(exc)


def _is_redis(connection: Any) -> bool:
    return connection is not None and connection.transport.driver_type == "redis"
