"""Ask the workers that listen to the broker, whoever started them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from celery import current_app


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer of a worker: the tasks that it knows, the queues that it consumes."""

    tasks: frozenset[str]
    queues: frozenset[str]


def ask_workers(seconds: float) -> Mapping[str, Answer]:
    """Return what each worker on this broker answers within these seconds, by name.

    They need not belong to this project. Workers that are busy in the solo pool do not
    answer, and neither do those of brokers without broadcasts.
    """
    inspect = current_app.control.inspect(timeout=seconds)
    tasks = inspect.registered() or {}
    queues = inspect.active_queues() or {}
    return {
        name: Answer(
            tasks=frozenset(text.partition(" ")[0] for text in tasks.get(name, ())),
            queues=frozenset(queue["name"] for queue in queues.get(name, ())),
        )
        for name in {*tasks, *queues}
    }
