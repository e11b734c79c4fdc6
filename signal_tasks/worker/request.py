"""The request of a receiver's task: Celery obeys our settings and not the message.

# Note [Headers]
Whoever can write to the broker chooses the headers, properties and embedded options
of a message, and Celery acts upon them: limits, due times, expiry, further tasks to
send, where to store the result. A message of ours needs none of these. So all that
Celery knows is replaced here by what the receiver's task says; what it does not know
(the headers of tracing and the like) is passed on as it came. ``docs/security.md``
has the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery.app.task import Context
from celery.exceptions import InvalidTaskError
from celery.worker.request import Request

from signal_tasks.conf import settings
from signal_tasks.delivery.process import process
from signal_tasks.registry.registry import registry
from signal_tasks.worker.shutdown import overdue_processes

#: Headers that Celery reads besides the attributes of ``Context``.
OTHER_HEADERS = {"groups", "task"}
#: Characters of an id, and of what a message says to be shown.
MAX_ID, MAX_SHOWN = 64, 1000

#: Soft and hard limit, in Celery's order: hard, soft.
Limits = tuple[float | None, float | None]


class ReceiverRequest(Request):  # type: ignore[misc]
    """A message for a receiver's task, of which only the arguments are believed."""

    def __init__(
        self,
        message: Any,
        *,
        task: Any,
        headers: Mapping[str, Any] | None = None,
        body: Any = None,
        decoded: bool = False,
        **options: Any,
    ) -> None:
        args, kwargs, _ = body if decoded else message.payload
        limits = limits_of(task, args)
        super().__init__(
            message,
            task=task,
            headers=_headers(headers or message.headers, task.name, limits),
            body=(args, kwargs, {}),  # without callbacks, chain and chord
            decoded=True,
            **options,
        )
        self.time_limits = limits
        self._delivery_info["priority"] = task.priority
        self._request_dict.update(properties={}, reply_to=None, correlation_id=self.id)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Tell the pool process why it is about to be ended, before it is."""
        if not soft and self.worker_pid:
            overdue_processes.add(self.worker_pid)
        super().on_timeout(soft, timeout)


def limits_of(task: Any, args: Any) -> Limits:
    """Return the limits of a message of this receiver's task, in seconds.

    The receiver's own, or else the project's, for each delivery. A worker begins
    nothing more after MESSAGE_SECONDS, so the last receiver of several that it begins
    still has its whole limit.
    """
    receiver = registry.receiver(task.name)
    hard, soft = (receiver.time_limits if receiver is not None else None) or (
        task.time_limit or process.time_limit,
        task.soft_time_limit or process.soft_time_limit,
    )
    several = 0.0 if _is_single(args) else settings().MESSAGE_SECONDS
    return hard and hard + several, soft and soft + several


def _is_single(args: Any) -> bool:
    ids = args[0] if isinstance(args, list | tuple) and args else None
    return isinstance(ids, list) and len(ids) == 1


def _headers(given: Mapping[str, Any], task: str, limits: Limits) -> dict[str, Any]:
    """Return the headers that Celery is to see; see Note [Headers]."""
    own = {
        key: value
        for key, value in given.items()
        if key not in OTHER_HEADERS and not hasattr(Context, key)
    }
    if isinstance(given.get("headers"), dict):
        own["headers"] = given["headers"]  # where tracers look for theirs
    number = _shown(given["id"])
    if not 0 < len(number) <= MAX_ID:
        raise InvalidTaskError("the id of the message is none of ours")
    own.update(
        task=task,
        id=number,
        root_id=number,
        argsrepr=_shown(given.get("argsrepr")),
        kwargsrepr=_shown(given.get("kwargsrepr")),
        origin=_shown(given.get("origin")),
        timelimit=list(limits),
        ignore_result=True,
    )
    return own


def _shown(value: object) -> str:
    """Return a text of the message as far as it may be shown, in one line."""
    fits = isinstance(value, str) and len(value) <= MAX_SHOWN and value.isprintable()
    return str(value) if fits else ""
