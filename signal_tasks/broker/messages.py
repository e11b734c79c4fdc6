"""Messages: one receiver, and the ids of some of its deliveries.

A message is only a wake-up call: it carries ids and the alias of the database that
holds the rows. The rows decide what is run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from celery import current_app

from signal_tasks.conf import settings
from signal_tasks.registry.registry import registry

#: Ids that a message shows in logs and in Flower.
MAX_SHOWN_IDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishRequest:
    """Deliveries of one receiver that are to be published, ``chunk`` to a message.

    ``trace`` is that of their send, if it is recorded.
    """

    receiver: str
    database: str
    ids: Sequence[str]
    chunk: int | None = None
    trace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Asks a worker to run these deliveries of one receiver."""

    task: str
    ids: tuple[str, ...]
    database: str
    queue: str | None = None

    def options(self) -> dict[str, Any]:
        """Return the keywords of ``apply_async`` that this message needs."""
        options: dict[str, Any] = {"args": (list(self.ids), self.database)}
        options["argsrepr"] = f"({self._shown_ids()}, {self.database!r})"
        options["kwargsrepr"] = "{}"
        if self.queue is not None:
            options["queue"] = self.queue
        return options

    def _shown_ids(self) -> str:
        more = len(self.ids) - MAX_SHOWN_IDS
        shown = ", ".join(self.ids[:MAX_SHOWN_IDS])
        return f"[{shown}, and {more} more]" if more > 0 else f"[{shown}]"


def messages_for(requests: Iterable[PublishRequest]) -> list[Message]:
    """Return the messages for these requests: one receiver each, ids in chunks.

    A receiver that this process does not know is left out: only a process that knows
    its queue can publish for it, and the relay of such a process will.
    """
    grouped: dict[tuple[str, str, int], list[str]] = {}
    for request in requests:
        chunk = min(request.chunk or settings().CHUNK_SIZE, settings().CHUNK_SIZE)
        key = (request.receiver, request.database, chunk)
        grouped.setdefault(key, []).extend(request.ids)
    return [
        message
        for (receiver, database, chunk), ids in grouped.items()
        for message in _chunks(receiver, database, ids, chunk)
    ]


def _chunks(name: str, database: str, ids: list[str], size: int) -> Iterator[Message]:
    receiver = registry.receiver(name)
    if receiver is None:
        return
    for start in range(0, len(ids), size):
        chunk = tuple(ids[start : start + size])
        yield Message(
            task=receiver.name,
            ids=chunk,
            database=database,
            queue=receiver.queue,
        )


def run_eagerly(messages: Iterable[Message]) -> None:
    """Run the messages here and now, as ``task_always_eager`` demands."""
    for message in messages:
        current_app.tasks[message.task].apply_async(**message.options())
