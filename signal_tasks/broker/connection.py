"""One thread's connection to the broker: lazy, bounded waits, a circuit breaker."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from celery import current_app

from signal_tasks import signals, spans
from signal_tasks.broker.messages import Message, PublishRequest, messages_for
from signal_tasks.conf import settings
from signal_tasks.exceptions import BrokerUnavailable

#: When nothing has gone through for so many times PUBLISH_TIMEOUT (for each server that
#: is named), while receiver after receiver was tried, the broker is at fault.
PATIENCE = 3

#: The messages of each receiver.
Messages = Mapping[str, Sequence[Message]]


@dataclass(frozen=True, slots=True)
class Publication:
    """The result of a publication.

    Attributes:
        error: of the broker, if it failed; some messages may have gone.
        refused: receivers whose messages cannot be made or routed, or that the broker
            refuses, each with the error. It is the failure of these receivers alone.
    """

    error: BaseException | None
    refused: Mapping[str, BaseException]


class BrokerConnection:
    """A connection to the broker that never waits for long.

    Nothing is opened before the first publication. After a failure everything is
    closed, and the broker is left alone for ``pause`` seconds (by default
    BREAKER_SECONDS); the next publication opens it anew. A receiver that failed is
    left alone likewise, by itself.
    """

    def __init__(self, *, pause: float | None = None) -> None:
        self._pause = pause
        self._retry_at = 0.0
        self._resting: dict[str, tuple[float, BaseException]] = {}
        self._connection: Any = None
        self._producer: Any = None

    @property
    def is_resting(self) -> bool:
        """True while the broker is left alone after a failure."""
        return time.monotonic() < self._retry_at

    @property
    def pause(self) -> float:
        """Seconds without a publication after the broker has failed."""
        return settings().BREAKER_SECONDS if self._pause is None else self._pause

    def publish(self, requests: Iterable[PublishRequest]) -> Publication:
        """Send a message for each receiver, or several; never raise.

        Where that fails, each receiver is tried by itself, over a new connection.
        """
        if spans.active is None:
            return self._publish(requests)
        requests = list(requests)
        traces = [request.trace for request in requests if request.trace]
        if not traces:
            return self._publish(requests)
        receivers = {request.receiver for request in requests}
        number = sum(len(request.ids) for request in requests)
        facts = {"messaging.batch.message_count": number}
        with spans.active.publish(receivers, traces, facts) as fail:
            done = self._publish(requests)
            for error in filter(None, (done.error, *done.refused.values())):
                fail(error)
        return done

    def _publish(self, requests: Iterable[PublishRequest]) -> Publication:
        refused: dict[str, BaseException] = {}
        messages = dict(self._make(requests, refused))
        try:
            self._send([each for some in messages.values() for each in some])
        # Routes, serializers and transports raise what they like.
        except Exception:  # noqa: BLE001
            return Publication(self._publish_singly(messages, refused), refused)
        return Publication(None, refused)

    def close(self) -> None:
        """Drop the connection, whatever state it is in."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            # A broken connection may fail to close in any way; it is being dropped.
            # Not ``collect()``: it changes the timeout of all sockets of the process.
            with suppress(Exception):
                connection.release()

    def _make(
        self, requests: Iterable[PublishRequest], refused: dict[str, BaseException]
    ) -> Iterator[tuple[str, Sequence[Message]]]:
        """Yield the messages of each receiver that does not rest."""
        grouped: dict[str, list[PublishRequest]] = {}
        for request in requests:
            grouped.setdefault(request.receiver, []).append(request)
        for receiver, some in grouped.items():
            rests_until, error = self._resting.get(receiver, (0.0, None))
            if error is not None and time.monotonic() < rests_until:
                refused[receiver] = error
                continue
            try:
                yield receiver, messages_for(some)
            # The options of one receiver are no reason to keep those of others back.
            except Exception as error:  # noqa: BLE001
                self._refuse(receiver, error, refused)

    def _send(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        producer = self._open()
        with _pipeline(producer) if len(messages) > 1 else nullcontext():
            for message in messages:
                task = current_app.tasks[message.task]
                task.apply_async(producer=producer, retry=False, **message.options())

    def _publish_singly(
        self, messages: Messages, refused: dict[str, BaseException]
    ) -> BaseException | None:
        """Publish one receiver's messages after the other's, to see whose failure it is.

        A broker to which a new connection can be made is well, and what fails then is
        the receiver's. Return the error if the broker failed.
        """
        started = time.monotonic()
        has_sent = False
        broken = self._connect()
        for receiver, some in messages.items():
            if broken is not None:
                break
            try:
                self._send(some)
            except Exception as error:  # noqa: BLE001 - see ``publish``
                broken = self._connect()
                if broken is None:
                    self._refuse(receiver, error, refused)
                    if not has_sent and self._has_taken_too_long(started):
                        broken = error
            else:
                has_sent = True
        self.close()
        return None if broken is None else self._rest(broken)

    def _has_taken_too_long(self, started: float) -> bool:
        longest = PATIENCE * settings().PUBLISH_TIMEOUT * _tries(self._connection)
        return time.monotonic() >= started + longest

    def _connect(self) -> Exception | None:
        """Open a new connection; return the error if the broker does not answer."""
        self.close()
        try:
            self._open(confirm=True)
            self._connection.default_channel  # noqa: B018 - made when looked at
        except Exception as error:  # noqa: BLE001 - client libraries raise their own
            return error
        return None

    def _refuse(
        self, receiver: str, error: Exception, refused: dict[str, BaseException]
    ) -> None:
        refused[receiver] = error
        self._resting[receiver] = (time.monotonic() + self.pause, error)
        details = signals.PublicationFailed(error=error, receiver=receiver)
        signals.publication_failed.send_robust(BrokerConnection, details=details)

    def _rest(self, error: Exception) -> BrokerUnavailable:
        self._retry_at = time.monotonic() + self.pause
        failure = BrokerUnavailable(f"{type(error).__name__}: {error}")
        failure.__cause__ = error
        details = signals.PublicationFailed(error=failure)
        signals.publication_failed.send_robust(BrokerConnection, details=details)
        return failure

    def _open(self, *, confirm: bool = False) -> Any:
        if self._producer is None:
            timeout = settings().PUBLISH_TIMEOUT
            connection = current_app.connection_for_write(
                transport_options=_bounded_waits(timeout, confirm=confirm),
                connect_timeout=timeout,
            )
            self._connection = connection
            self._producer = current_app.amqp.Producer(connection, auto_declare=False)
        return self._producer


def reach(timeout: float) -> Exception | None:
    """Open a connection to the broker and close it; return the error if that fails.

    Of several servers, each may take as long as ``timeout``: see ``tries``.
    """
    try:
        connection = current_app.connection_for_write(
            transport_options=_bounded_waits(timeout, confirm=False),
            connect_timeout=timeout,
        )
        with connection:
            connection.default_channel  # noqa: B018 - made when looked at
    # The names of transports and their client libraries raise what they like.
    except Exception as error:  # noqa: BLE001
        return error
    return None


def tries() -> int:
    """Return how many servers are tried, one after the other, to make a connection."""
    return _tries(current_app.connection_for_write())


def _tries(connection: Any) -> int:
    """Return the number of the URLs; sentinels are all asked in one try."""
    if connection.transport_cls == "sentinel":
        return 1
    return len(connection.alt) or 1


def _bounded_waits(timeout: float, *, confirm: bool) -> dict[str, Any]:
    """Return transport options with which no wait is longer than ``timeout``.

    If the broker is a list of servers, each of them is tried once.

    With ``confirm``, RabbitMQ tells at once which message it refuses.
    """
    usual = current_app.connection_for_write()
    options: dict[str, Any] = {
        "max_retries": _tries(usual) - 1,
        "interval_start": 0,
        "interval_step": 0,
        "interval_max": 0,
        # A name with several addresses may take longer than ``timeout``: the servers
        # after it are still to be tried.
        "connect_retries_timeout": None,
    }
    match usual.transport.driver_type:
        case "redis":
            waits = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
            options.update(waits, retry_on_timeout=False)
            if usual.transport_cls == "sentinel":  # its client retries for seconds
                given = usual.transport_options.get("sentinel_kwargs") or {}
                options["sentinel_kwargs"] = {**given, **waits, "retry": None}
        case "amqp":
            options["read_timeout"] = timeout
            options["write_timeout"] = timeout
            if confirm:
                options["confirm_publish"] = True
    return options


def _pipeline(producer: Any) -> AbstractContextManager[Any]:
    """Send the messages together where Celery's transport can (kombu 5.7, Redis)."""
    if getattr(producer, "supports_batch_publish", False):
        batch: AbstractContextManager[Any] = producer.batch()
        return batch
    return nullcontext()
