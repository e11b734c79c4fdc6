"""Read what a batch receiver returns: its answers for the deliveries of its batch."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence

from signal_tasks.context import BatchItem
from signal_tasks.exceptions import NoAnswer

#: None for a delivery that has succeeded, else why it has not.
Answers = Mapping[uuid.UUID, BaseException | None]

HOW = (
    "return the batch if all of it has succeeded, the items that have, or a mapping of "
    "each item to None or an exception"
)


def answers(returned: object, batch: Sequence[BatchItem], receiver: str) -> Answers:
    """Return the answer for each delivery; one that is left out has failed.

    Items may be named by themselves or by their id.
    """
    if not isinstance(returned, Iterable) or isinstance(returned, str | bytes):
        said = f"{receiver} returned {_kind(returned)}, which answers for no delivery"
        return {item.id: NoAnswer(f"{said}; {HOW}") for item in batch}
    if isinstance(returned, Mapping):
        given = {
            _name(key): _error(answer, receiver) for key, answer in returned.items()
        }
    else:
        given = dict.fromkeys(map(_name, returned))
    strange = given.keys() - {str(item.id) for item in batch}
    omitted = f"{receiver} did not answer for this delivery{_but(strange)}"
    return {item.id: given.get(str(item.id), NoAnswer(omitted)) for item in batch}


def _name(key: object) -> str:
    return str(key.id if isinstance(key, BatchItem) else key)


def _error(answer: object, receiver: str) -> BaseException | None:
    if answer is None or answer is True:
        return None
    if isinstance(answer, BaseException):
        return answer
    said = f"{receiver} answered {_kind(answer)} for this delivery"
    return NoAnswer(f"{said}; give None if it has succeeded, or else an exception")


def _kind(value: object) -> str:
    """Name a value by its type alone: it may hold what nobody is to see."""
    return "None" if value is None else f"an object of type {type(value).__qualname__}"


def _but(strange: Collection[str]) -> str:
    """Say that a receiver has answered for something else, which shows a wrong key."""
    if not strange:
        return ""
    which = "one that is" if len(strange) == 1 else f"{len(strange)} that are"
    return f", but for {which} not in its batch; name an item by itself or by item.id"
