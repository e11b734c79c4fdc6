"""One thread's connection to the broker: lazy, bounded waits, a circuit breaker."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from celery import current_app
from celery.exceptions import NotRegistered, QueueNotFound

from signal_tasks import signals
from signal_tasks.broker.messages import Message
from signal_tasks.conf import settings
from signal_tasks.exceptions import BrokerUnavailable


class BrokerConnection:
    """A connection to the broker that never waits for long.

    Nothing is opened before the first publication. After a failure everything is
    closed, and the broker is left alone for ``pause`` seconds (by default
    BREAKER_SECONDS); the next publication opens it anew.
    """

    def __init__(self, *, pause: float | None = None) -> None:
        self._pause = pause
        self._retry_at = 0.0
        self._connection: Any = None
        self._producer: Any = None

    @property
    def is_resting(self) -> bool:
        """True while the broker is left alone after a failure."""
        return time.monotonic() < self._retry_at

    @property
    def pause(self) -> float:
        """How long the broker is left alone after a failure (seconds)."""
        return settings().BREAKER_SECONDS if self._pause is None else self._pause

    def publish(self, messages: Sequence[Message]) -> bool:
        """Send the messages; return False if the broker did not take all of them.

        Some may have gone. A connection that broke since the last time is replaced
        once.
        """
        fresh = self._producer is None
        try:
            try:
                self._send(messages)
            except BrokerUnavailable:
                if fresh:
                    raise
                self._send(messages)
        except BrokerUnavailable as error:
            self._retry_at = time.monotonic() + self.pause
            details = signals.PublicationFailed(error=error)
            signals.publication_failed.send_robust(BrokerConnection, details=details)
            return False
        return True

    def close(self) -> None:
        """Drop the connection, whatever state it is in."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            # A broken connection may fail to close in any way; it is being dropped.
            # Not ``collect()``: it changes the timeout of all sockets of the process.
            with suppress(Exception):
                connection.release()

    def _send(self, messages: Sequence[Message]) -> None:
        try:
            producer = self._open()
            with _pipeline(producer) if len(messages) > 1 else nullcontext():
                for message in messages:
                    _publish(message, producer)
        # Transports raise what their client libraries raise; whatever it is, the
        # messages may not have gone, and the rows are still pending.
        except Exception as error:
            self.close()
            raise BrokerUnavailable(f"{type(error).__name__}: {error}") from error

    def _open(self) -> Any:
        if self._producer is None:
            timeout = settings().PUBLISH_TIMEOUT
            connection = current_app.connection_for_write(
                transport_options=_bounded_waits(timeout), connect_timeout=timeout
            )
            self._connection = connection
            self._producer = current_app.amqp.Producer(connection, auto_declare=False)
        return self._producer


def _bounded_waits(timeout: float) -> dict[str, Any]:
    """Return transport options with which no wait is longer than ``timeout``."""
    options: dict[str, Any] = {
        "max_retries": 0,
        "interval_start": 0,
        "interval_step": 0,
        "interval_max": 0,
        "connect_retries_timeout": timeout,
    }
    match current_app.connection_for_write().transport.driver_type:
        case "redis":
            options["socket_timeout"] = timeout
            options["socket_connect_timeout"] = timeout
            options["retry_on_timeout"] = False
        case "amqp":
            options["read_timeout"] = timeout
            options["write_timeout"] = timeout
    return options


def _publish(message: Message, producer: Any) -> None:
    """Send one message; one that Celery cannot route harms no other."""
    try:
        task = current_app.tasks[message.task]
        task.apply_async(producer=producer, retry=False, **message.options())
    except (QueueNotFound, NotRegistered) as error:
        details = signals.PublicationFailed(error=error)
        signals.publication_failed.send_robust(BrokerConnection, details=details)


def _pipeline(producer: Any) -> AbstractContextManager[Any]:
    """Send the messages together where Celery's transport can (kombu 5.7, Redis)."""
    if getattr(producer, "supports_batch_publish", False):
        batch: AbstractContextManager[Any] = producer.batch()
        return batch
    return nullcontext()
