"""Keys that users give to sends, and objects, in the form in which they are stored."""

from __future__ import annotations

import hashlib
import inspect
import uuid
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from django.db.models import Model

T = TypeVar("T")

#: Longest key that is stored as it is, in characters.
MAX_KEY = 255


def key_text(key: Any, label: str) -> str:
    """Return the text of a key; ``label`` begins the errors.

    A model instance is its model and primary key. A key that is long, or that some
    database would change or not tell from others, is stored as its hash.

    Raises:
        TypeError: it is no str, int, UUID or model instance.
        ValueError: it is empty, or an instance that is not saved.
    """
    text = _text(key, label)
    if not text:
        raise ValueError(f"{label} is empty; give a key, or none")
    return stored(text)


def ask(
    function: Callable[..., T], label: str, sender: object, named: Mapping[str, Any]
) -> T:
    """Call a project's function for a send; raise whatever it raises.

    Raises:
        TypeError: the function does not take what is sent. ``label`` says whose it is.
    """
    try:
        return function(sender, **named)
    except TypeError as error:
        if _takes(function, sender, named):
            raise
        raise TypeError(
            f"{label} cannot be called for this send: {error}. Send what it needs, or let "
            "it take sender and **kwargs, and do without."
        ) from error


def _takes(
    function: Callable[..., Any], sender: object, named: Mapping[str, Any]
) -> bool:
    """Return True if a function can be called so, or nobody knows."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of some functions that are not written in Python
        return True
    try:
        signature.bind(sender, **named)
    except TypeError:
        return False
    return True


def stored(text: str) -> str:
    """Return the text of a key as it is stored; what this returned is itself."""
    if len(text) <= MAX_KEY and text.isprintable() and text == text.strip():
        return text
    return f"sha256:{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()}"


def instance_text(instance: Model) -> str:
    """Return the label and primary key of an instance; nothing if it has no key.

    The parts of a composite key are joined by commas; those in a part are escaped, so
    that two rows never have one text.
    """
    pk = instance.pk
    if type(pk) is tuple:
        pk = None if None in pk else ",".join(map(_part, pk))
    return "" if pk is None else f"{_label(instance.__class__)}:{pk}"


def _part(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace(",", "\\,")


@lru_cache(maxsize=512)
def _label(model: type[Model]) -> str:
    concrete: Any = model._meta.concrete_model or model
    label: str = concrete._meta.label_lower
    return label


def _text(key: Any, label: str) -> str:
    if isinstance(key, Model):
        text = instance_text(key)
        if not text:
            raise ValueError(f"{label} is {key!r}, which is not saved and has no key")
        return text
    if isinstance(key, bool) or not isinstance(key, str | int | uuid.UUID):
        raise TypeError(f"{label} is {key!r}; give a str, int, UUID or model instance")
    # A member of an enum that is a str or int equals its value, whatever str() says.
    if isinstance(key, str):
        return str.__str__(key)
    return int.__repr__(key) if isinstance(key, int) else str(key)
