"""The one door to Celery: receivers become tasks, ids become messages.

A message is a doorbell. It carries the ids of deliveries and the alias of the
database that holds them; the rows decide what is owed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import celery
from celery import Task, current_app, shared_task
from celery.exceptions import (
    NotRegistered,
    QueueNotFound,
    Retry,
    WorkerShutdown,
    WorkerTerminate,
)
from django.core.signals import setting_changed

from signal_tasks import signals
from signal_tasks.exceptions import BrokerUnavailable

#: What Celery raises in the middle of a task to end the process.
SHUTDOWN = (WorkerShutdown, WorkerTerminate)
#: A receiver that outlives its soft limit by this long is killed (seconds).
HARD_LIMIT_GRACE = 5.0


class Report(Protocol):
    """What a message's work came to, as Celery and Flower are to show it."""

    @property
    def failures(self) -> Sequence[BaseException]: ...
    @property
    def given_up(self) -> bool: ...
    def __str__(self) -> str: ...


Body = Callable[[str, object, object], Report]


class ReceiverTask(Task):  # type: ignore[misc]
    """The Celery task of one receiver.

    The outcome of each delivery is in the database when the task ends, so Celery
    has nothing to store, to retry or to redeliver.
    """

    abstract = True
    acks_late = True
    acks_on_failure_or_timeout = True
    acks_on_failure = True
    acks_on_timeout = True
    reject_on_worker_lost = False
    ignore_result = True
    store_errors_even_if_ignored = False
    max_retries = None
    serializer = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Asks a worker to run these deliveries of one receiver."""

    task: str
    ids: tuple[str, ...]
    database: str
    queue: str | None = None
    time_limit: float | None = None

    def options(self) -> dict[str, Any]:
        """The keywords of ``apply_async`` that this message needs."""
        options: dict[str, Any] = {"args": (list(self.ids), self.database)}
        options["argsrepr"] = f"({self._ids_in_short()}, {self.database!r})"
        options["kwargsrepr"] = "{}"
        if self.queue is not None:
            options["queue"] = self.queue
        if self.time_limit is not None:
            options["soft_time_limit"] = self.time_limit
            options["time_limit"] = self.time_limit + HARD_LIMIT_GRACE
        return options

    def _ids_in_short(self) -> str:
        more = len(self.ids) - 3
        shown = ", ".join(self.ids[:3])
        return f"[{shown}, and {more} more]" if more > 0 else f"[{shown}]"


def register_task(name: str, body: Body, *, rate_limit: str | int | None) -> None:
    """Make ``name`` a task of every Celery app of this process, now and later."""
    if name in _registered:
        return
    _registered.add(name)

    @shared_task(name=name, base=ReceiverTask, rate_limit=rate_limit)  # type: ignore[untyped-decorator]
    def run(ids: object, database: object = "default", *_: object, **__: object) -> str:
        return _shown(body(name, ids, database))


_registered: set[str] = set()


def _shown(report: Report) -> str:
    """Turn a report into the outcome that Celery logs and Flower shows."""
    if not report.failures:
        return str(report)
    first = report.failures[0]
    if not isinstance(first, Exception):
        # ``SystemExit`` and its like would end the worker, not the task.
        first = RuntimeError(f"{type(first).__name__}: {first}")
    if report.given_up:
        raise first
    raise Retry(str(report), exc=first)


def owns_task(name: str) -> bool:
    """Whether the task of that name is the one of the receiver of that name."""
    return isinstance(current_app.tasks.get(name), ReceiverTask)


def app_is_missing() -> bool:
    """Whether Celery made up an app because the project has set none."""
    return current_app.main in (None, "default") and not current_app.conf.broker_url


def unsafe_content() -> list[str]:
    """The accepted content types that are not mere data."""
    return sorted(
        {"pickle", "application/x-python-serialize"}
        & set(current_app.conf.accept_content)
    )


def reconnects_are_bounded() -> bool:
    """Whether a worker gives up when the broker stays away."""
    return current_app.conf.broker_connection_max_retries is not None


def consumer_may_die() -> bool:
    """Whether celery 5.7.0 runs on Redis with a consumer that is not Celery's own."""
    redis = str(current_app.conf.broker_url or "").startswith(("redis", "sentinel"))
    own = current_app.conf.worker_consumer != "celery.worker.consumer:Consumer"
    return celery.__version__ == "5.7.0" and redis and own


def load_transport() -> None:
    """Import what talks to the broker, before a pool is forked that shares it then.

    A pool process publishes what it hands back and what its receivers send; importing
    the client library by itself costs each one twelve megabytes.
    """
    current_app.connection_for_write().transport  # noqa: B018 - made when looked at


def is_eager() -> bool:
    """Whether Celery is set to run tasks in the process that sends them.

    Every send asks, and Celery needs up to 30 microseconds to look through its layers:
    the answer holds until the app, what was assigned to its ``conf``, or Django's
    settings are others.
    """
    global _eager
    conf = current_app.conf
    changes = conf.changes
    version = (_settings_version, len(changes), changes.get("task_always_eager"))
    if _eager is None or _eager[0] is not conf or _eager[1] != version:
        _eager = (conf, version, bool(conf.task_always_eager))
    return _eager[2]


_eager: tuple[object, tuple[object, ...], bool] | None = None
_settings_version = 0


def _settings_changed(**_: object) -> None:
    global _settings_version
    _settings_version += 1


setting_changed.connect(_settings_changed, dispatch_uid="signal_tasks.broker")


def run_eagerly(messages: Iterable[Message]) -> None:
    """Run the messages here and now, as ``task_always_eager`` demands."""
    for message in messages:
        current_app.tasks[message.task].apply_async(**message.options())


class Link:
    """One thread's own connection to the broker, on which every wait is bounded.

    Nothing is opened before the first publication, and after a failure
    everything is closed and opened anew by the next one.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._connection: Any = None
        self._producer: Any = None

    def publish(self, messages: Sequence[Message]) -> None:
        """Send the messages, or raise ``BrokerUnavailable``: some may have gone.

        A connection that broke since the last time gets one second chance.
        """
        fresh = self._producer is None
        try:
            self._send(messages)
        except BrokerUnavailable:
            if fresh:
                raise
            self._send(messages)

    def _send(self, messages: Sequence[Message]) -> None:
        try:
            producer = self._open()
            with _batch(producer) if len(messages) > 1 else nullcontext():
                for message in messages:
                    _apply(message, producer)
        # Transports raise what their client libraries raise; whatever it is, the
        # messages may not have gone, and the rows still owe them.
        except Exception as error:
            self.close()
            raise BrokerUnavailable(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Drop the connection, whatever state it is in."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            # A broken connection may fail to close in any way; it is being dropped.
            # Not ``collect()``: it changes the timeout of all sockets of the process.
            with suppress(Exception):
                connection.release()

    def _open(self) -> Any:
        if self._producer is None:
            connection = current_app.connection_for_write(
                transport_options=self._bounded_waits(),
                connect_timeout=self._timeout,
            )
            self._connection = connection
            self._producer = current_app.amqp.Producer(connection, auto_declare=False)
        return self._producer

    def _bounded_waits(self) -> dict[str, Any]:
        timeout = self._timeout
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


def _apply(message: Message, producer: Any) -> None:
    """Send one message; one that Celery cannot route harms no other."""
    try:
        task = current_app.tasks[message.task]
        task.apply_async(producer=producer, retry=False, **message.options())
    except (QueueNotFound, NotRegistered) as error:
        signals.broker_failed.send_robust(sender=Link, error=error)


def _batch(producer: Any) -> AbstractContextManager[Any]:
    """Pipeline the messages where Celery's transport can (kombu 5.7 on Redis)."""
    if getattr(producer, "supports_batch_publish", False):
        batch: AbstractContextManager[Any] = producer.batch()
        return batch
    return nullcontext()
