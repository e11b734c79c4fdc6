"""Keys that users give to sends, in the form in which they are stored."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

from django.db.models import Model

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
    if len(text) <= MAX_KEY and text.isprintable() and text == text.strip():
        return text
    return f"sha256:{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()}"


def _text(key: Any, label: str) -> str:
    if isinstance(key, Model):
        if key.pk is None:
            raise ValueError(f"{label} is {key!r}, which is not saved and has no key")
        model = key._meta.concrete_model or type(key)
        return f"{model._meta.label_lower}:{key.pk}"
    if isinstance(key, bool) or not isinstance(key, str | int | uuid.UUID):
        raise TypeError(f"{label} is {key!r}; give a str, int, UUID or model instance")
    return str(key)
