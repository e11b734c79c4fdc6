"""The subject of an event: the object that it is about, as ``app.model:pk``.

On the path of every send, so it looks at the classes of the arguments only, and never
runs a query.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from operator import attrgetter
from typing import Any

from django.db.models import Model
from django.utils.functional import LazyObject

from signal_tasks.codec.instances import unwrapped
from signal_tasks.codec.payload import SENDER
from signal_tasks.codec.snapshots import Snapshot
from signal_tasks.outbox.keys import instance_text

#: Longest subject, in characters.
MAX_SUBJECT = 255


def checked(subject: Any) -> str | None:
    """Return the subject that ``using(subject=...)`` means; None if none is given.

    Raises:
        TypeError: it is neither a model instance nor a string.
        ValueError: it is too long, or cannot be stored, or an instance that is not
            saved.
    """
    if subject is None:
        return None
    instance = _instance(subject)
    if instance is None and not isinstance(subject, str):
        raise TypeError(
            f"using(): subject is {subject!r}; give a model instance or a string"
        )
    text = str.__str__(subject) if instance is None else instance_text(instance)
    if instance is not None and not text:
        raise ValueError(
            f"using(): subject is {subject!r}, which has not been saved; save it first"
        )
    # MariaDB and MySQL ignore spaces at the end. A row may have such a key; a text need not.
    if not _is_storable(text) or (instance is None and text != text.strip()):
        raise ValueError(
            f"using(): subject {text[:80]!r} has {len(text)} characters; give at most "
            f"{MAX_SUBJECT}, all of them printable, and no space at either end"
        )
    return text


def default(
    sender: object, named: Mapping[str, object], sensitive: Collection[str] = ()
) -> str:
    """Return the subject of a send that names none; empty if that is not clear.

    It is the sender if that is a model instance, else the only model instance among
    the arguments, however many of them hold it. Sensitive ones are none of them: a
    subject is shown.
    """
    if sensitive:
        named = {name: named[name] for name in named if name not in sensitive}
        sender = None if SENDER in sensitive else sender
    instance = _instance(sender)
    if instance is not None:
        return _stored(instance)
    found = ""
    for value in named.values():
        instance = _instance(value)
        if instance is not None and (text := _stored(instance)) != found:
            if found:
                return ""
            found = text
    return found


def _instance(value: object) -> Any:
    """Return the model instance that a value is or stands for; None if it is none."""
    kind: type = type(value)
    find = _finder(kind)
    return None if find is None else find(value)


@lru_cache(maxsize=512)
def _finder(kind: type) -> Callable[[Any], Any] | None:
    """Return the function that finds the instance in values of this class."""
    if issubclass(kind, Model):
        return lambda instance: instance
    if kind is Snapshot:
        return attrgetter("instance")
    if issubclass(kind, LazyObject):
        return lambda lazy: _instance(unwrapped(lazy))
    return None


def _stored(instance: Model) -> str:
    text = instance_text(instance)
    return text if _is_storable(text) else ""


def _is_storable(text: str) -> bool:
    """Return True if every database keeps a text as it is."""
    return len(text) <= MAX_SUBJECT and text.isprintable()
