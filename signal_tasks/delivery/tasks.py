"""The Celery task of each receiver: the entry of every message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Task, current_app, shared_task
from celery.exceptions import Retry

from signal_tasks.broker.config import is_eager
from signal_tasks.delivery.process import process
from signal_tasks.error_text import MAX_CHARS, text_of
from signal_tasks.exceptions import MissingInstance, Reject
from signal_tasks.states import State

if TYPE_CHECKING:
    from signal_tasks.delivery.result import MessageResult

#: Celery's own tasks (``celery.map``) call any other task that a message names. They
#: run under the limits of that message.
CALLED_BY_ANOTHER = "not run: called by another task"
#: What bounds the task of a receiver, and does not change while a worker runs.
LIMITS = {"time_limit", "soft_time_limit", "rate_limit"}


#: What a project's task class may bring, and what the tasks of receivers do without:
#: what acknowledges, sends, repeats or surrounds the task.
NOT_TAKEN_OVER = frozenset(
    {"__call__", "apply_async", "autoretry_for", "expires", "run", "Strategy"}
)


#: What our class defines and the project's class may define, too.
BESIDE_OURS = frozenset({"abstract", "throws"})


class OfTheApp(type):
    """Put the project's task class (``Celery(task_cls=...)``) behind ours.

    So the tasks of receivers have whatever the other tasks of an app have, but for
    what our class defines.
    """

    def __new__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]
    ) -> Any:
        """Make a class; for the task of an app, with that app's task class."""
        app = namespace.get("app")
        if app is None or type(app.Task) not in (type, cls):
            return super().__new__(cls, name, bases, namespace)
        own = bases[0]
        namespace["throws"] = (*vars(ReceiverTask)["throws"], *app.Task.throws)
        for attribute in NOT_TAKEN_OVER & overrides(app.Task) - {"run"}:
            namespace[attribute] = vars(Untouched)[attribute]
        return super().__new__(cls, name, (own, app.Task), namespace)


def overrides(task_class: type) -> set[str]:
    """Return the attributes of a project's task class that are not Celery's own."""
    classes = [each for each in task_class.__mro__ if not issubclass(Task, each)]
    names = {name for each in classes for name in vars(each)}
    return names - {"_app", "abstract", "app", "__module__", "__doc__", "__reduce__"}


def not_taken_over() -> list[str]:
    """Return what the project's task class defines in vain for receivers."""
    ours = {name for name in vars(ReceiverTask) if not name.startswith("_")}
    lost = overrides(current_app.Task) & (NOT_TAKEN_OVER | ours - BESIDE_OURS)
    if type(current_app.Task) not in (type, OfTheApp):
        lost.add("its metaclass")
    return sorted(lost)


class Untouched:
    """An attribute that replaces one of the project's own; looked up in each call."""

    autoretry_for = ()
    expires = None
    Strategy = Task.Strategy

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task in the request that its worker has made."""
        return self.run(*args, **kwargs)  # type: ignore[attr-defined]

    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        """Send the message as Celery does."""
        return Task.apply_async(self, *args, **kwargs)


class ReceiverTask(Task, metaclass=OfTheApp):  # type: ignore[misc]
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
    throws = (Reject,)  # an orderly end: Celery logs a line of it, without a traceback
    serializer = "json"

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse other limits, which a message of Celery's remote control may set."""
        if name in LIMITS:
            raise AttributeError(
                f"{name} of the receiver {self.name} is set in code: "
                "connect it with timeout= or rate_limit="
            )
        super().__setattr__(name, value)


def register_task(name: str) -> None:
    """Make ``name`` a task of every Celery app of this process, now and later.

    Celery knows nothing of a receiver's rate limit: it would count messages, in each
    process for itself.
    """
    if name in _registered:
        return
    _registered.add(name)

    @shared_task(name=name, base=ReceiverTask, bind=True)  # type: ignore[untyped-decorator]
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

        with process.message(str(task.request.id or "")):
            result = process_message(name, ids, database)
        return _shown(result)


_registered: set[str] = set()


def _shown(result: MessageResult) -> str:
    """Turn a result into the outcome that Celery logs and Flower shows.

    A row that is gone is no failure of the receiver, and needs no traceback.
    """
    failed = [
        (outcome.error, outcome.state)
        for outcome in result.outcomes
        if outcome.error is not None and not isinstance(outcome.error, MissingInstance)
    ]
    if result.hook_errors and not any(state is State.DEAD for _, state in failed):
        raise _for_celery(result.hook_errors[0])
    if not failed:
        return str(result)
    dead = [error for error, state in failed if state is State.DEAD]
    # Nobody expects what was not rejected: Celery is to show its traceback.
    unexpected = [error for error in dead if not isinstance(error, Reject)]
    first = _for_celery((unexpected or dead or [failed[0][0]])[0])
    if dead or is_eager():
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
    kind = Reject if isinstance(error, Reject) else RuntimeError
    return kind(f"{type(error).__name__}: {text}")


def owns_task(name: str) -> bool:
    """Return True if the task of that name is the one of the receiver of that name."""
    return isinstance(current_app.tasks.get(name), ReceiverTask)
