"""Celery's consumer with two fixes.

Malformed messages and, on celery 5.7.0, outages of Redis no longer end the worker.
It replaces Celery's own consumer, never one of the project's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import celery
from celery.concurrency.prefork import TaskPool
from celery.worker.consumer import Consumer

#: The consumers of a worker whose ``worker_consumer`` names no other.
STOCK_CONSUMERS = ("celery.worker.consumer:Consumer", Consumer)
#: Raised when Celery unpacks a message of an unknown shape.
MALFORMED = (ValueError, TypeError, LookupError, AttributeError)
#: No time limit of a message is longer (seconds): a year.
MAX_TIME_LIMIT = 366 * 24 * 3600.0


class ResilientConsumer(Consumer):  # type: ignore[misc]
    """A consumer that survives malformed messages and outages of Redis."""

    def __init__(
        self, on_task_request: Callable[[Any], None], *args: Any, **kwargs: Any
    ) -> None:
        def on_possible_request(request: Any) -> None:
            _check_time_limits(request.time_limits)
            on_task_request(request)

        self._broken: list[Any] = []  # channels of the connections that broke
        self._closed: list[Any] = []  # those that are closed
        super().__init__(on_possible_request, *args, **kwargs)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Drop a message that cannot be unpacked.

        JSON of an unforeseen shape (a body of ``[]``, headers without an id) raises
        out of Celery's handler, which ends the worker, and the next one, and so on.
        """
        handle = super().create_task_handler(*args, **kwargs)

        def handle_or_drop(message: Any) -> None:
            try:
                handle(message)
            except MALFORMED:
                self.on_unknown_message(None, message)

        return handle_or_drop

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Let the channels of the broken connection live until there is a new one.

        Celery 5.7.0 closes the connection before it gives back the messages that it
        holds, which then fails without a connection and ends the worker.
        """
        connection = self.connection
        if celery.__version__ != "5.7.0" or not _is_redis(connection):
            super().on_connection_error_after_connected(exc)
            return
        transport = connection.transport
        channels = [*transport.channels, *transport._avail_channels]  # noqa: SLF001
        connection.close = lambda: None
        super().on_connection_error_after_connected(exc)
        transport.client = connection  # with which the channels connect again
        self._broken += channels

    def connect(self) -> Any:
        """Connect; then close what is left of connections that broke.

        Their channels give back the messages that they hold, and close their sockets.
        Nothing else would: they are referenced until the process ends. To give back,
        and later to acknowledge what a receiver was running, a channel connects again;
        these sockets are closed after the next outage. It cannot be closed twice.
        """
        connection = super().connect()
        for channel in self._closed:
            with suppress(AttributeError):  # it has not connected again
                channel.pool.disconnect()
        for channel in self._broken:
            channel.closed = False
            with suppress(Exception):  # what is broken may fail to close in any way
                channel.close()
        self._closed, self._broken = self._broken, []
        return connection


def consumed_queues(worker: Any) -> list[str]:
    """Return the queues from which a worker takes messages, and runs them, now.

    A message of Celery's remote control can take away each of them, and the last
    process of the pool.
    """
    consumer = getattr(getattr(worker, "consumer", None), "task_consumer", None)
    pool = getattr(worker, "pool", None)
    if consumer is None or (isinstance(pool, TaskPool) and not pool.num_processes):
        return []
    return [queue.name for queue in consumer.queues]


def _check_time_limits(limits: Any) -> None:
    """Raise ``ValueError`` for limits that are no seconds.

    The pool would hand them to its timer, which ends the worker or stops it for good.
    Receivers' tasks have their own limits; these are those of the project's tasks.
    """
    for limit in limits:
        if limit is not None and not 0 <= limit <= MAX_TIME_LIMIT:
            raise ValueError(f"{limit!r} is no time limit")


def _is_redis(connection: Any) -> bool:
    return connection is not None and connection.transport.driver_type == "redis"
