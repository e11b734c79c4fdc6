"""The Celery task of each receiver: the entry of every message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Task, current_app, shared_task
from celery.exceptions import Retry

from signal_tasks.delivery.process import process
from signal_tasks.error_text import MAX_CHARS, text_of

if TYPE_CHECKING:
    from signal_tasks.delivery.message import MessageResult

#: Celery's own tasks (``celery.map``) call any other task that a message names. They
#: run under the limits of that message.
CALLED_BY_ANOTHER = "not run: called by another task"
#: What bounds the task of a receiver, and does not change while a worker runs.
LIMITS = {"time_limit", "soft_time_limit", "rate_limit"}


class ReceiverTask(Task):  # type: ignore[misc]
    """The Celery task of one receiver.

    The outcome of each delivery is in the database when the task ends, so Celery
    has nothing to store, to retry or to redeliver.
    """

    abstract = True
    Request = "signal_tasks.worker.request:ReceiverRequest"
    acks_late = True
    acks_on_failure_or_timeout = True
    acks_on_failure = True
    acks_on_timeout = True
    reject_on_worker_lost = False
    retry_on_worker_lost = False
    ignore_result = True
    store_errors_even_if_ignored = False
    max_retries = None
    serializer = "json"

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse other limits, which a message of Celery's remote control may set."""
        if name in LIMITS:
            raise AttributeError(
                f"{name} of the receiver {self.name} is set in code: "
                "connect it with timeout= or rate_limit="
            )
        super().__setattr__(name, value)


def register_task(name: str, *, rate_limit: str | int | None) -> None:
    """Make ``name`` a task of every Celery app of this process, now and later."""
    if name in _registered:
        return
    _registered.add(name)

    @shared_task(name=name, base=ReceiverTask, rate_limit=rate_limit, bind=True)  # type: ignore[untyped-decorator]
    def run(
        task: Any,
        /,
        ids: object,
        database: object = "default",
        *_: object,
        **__: object,
    ) -> str:
        if process.main_pid and task.request.called_directly:
            return CALLED_BY_ANOTHER
        # Receivers are connected while Django loads the apps, before any model.
        from signal_tasks.delivery.message import process_message

        return _shown(process_message(name, ids, database))


_registered: set[str] = set()


def _shown(result: MessageResult) -> str:
    """Turn a result into the outcome that Celery logs and Flower shows."""
    if not result.failures:
        return str(result)
    first = _for_celery(result.failures[0])
    if result.has_dead:
        raise first
    raise Retry(str(result), exc=first)


def _for_celery(error: BaseException) -> Exception:
    """Return the error itself, or one in its place that does no harm.

    ``SystemExit`` and its like would end the worker, not the task. What an error says
    is logged, and sent to Flower through the broker, in its whole length.
    """
    text = text_of(error)
    if isinstance(error, Exception) and len(text) < MAX_CHARS:
        return error
    return RuntimeError(f"{type(error).__name__}: {text}")


def owns_task(name: str) -> bool:
    """Return True if the task of that name is the one of the receiver of that name."""
    return isinstance(current_app.tasks.get(name), ReceiverTask)
