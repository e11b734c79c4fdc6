"""Show a stored payload to people, without the database and without the code of it.

Each value is shown as a short text: a model instance as its reference. Whatever cannot
be read is shown as it is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from signal_tasks.redaction import REDACTED, redacted
from signal_tasks.stored_json import shown

#: Longest text of one value, and of a whole line (characters).
MAX_VALUE, MAX_LINE = 80, 160
#: Levels of lists and mappings that are shown.
MAX_LEVELS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A model instance that a payload refers to.

    Attributes:
        model: its label, as ``orders.order``.
        pk: its primary key, as text.
        database: the alias it was read from.
    """

    model: str
    pk: str
    database: str

    def __str__(self) -> str:
        return f"{self.model}:{self.pk}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPayload:
    """A payload as people read it.

    Attributes:
        sender: text of the sender.
        arguments: text of each keyword argument.
        references: the model instances it refers to, each once.
    """

    sender: str
    arguments: Mapping[str, str]
    references: tuple[Reference, ...] = ()

    @property
    def line(self) -> str:
        """The arguments in one line."""
        text = ", ".join(f"{name}={value}" for name, value in self.arguments.items())
        return _cut(text, MAX_LINE)


def show(signal: str, payload: str) -> ShownPayload:
    """Return a stored payload as people read it; damaged ones as they are."""
    text = redacted(signal, payload)
    found = shown(text)
    if not isinstance(found, dict) or "kwargs" not in found:
        return ShownPayload(sender="", arguments={"payload": _cut(str(text))})
    named = found["kwargs"]
    if isinstance(named, dict) and set(named) == {"$dict"}:
        named = dict(_pairs(named["$dict"]))
    if not isinstance(named, dict):
        named = {"payload": named}
    arguments = {str(name): value_text(value) for name, value in named.items()}
    references = dict.fromkeys(_references(found))
    return ShownPayload(
        sender=value_text(found.get("sender")),
        arguments=arguments,
        references=tuple(references),
    )


def value_text(value: object, level: int = 0) -> str:
    """Return a stored value as a short text."""
    if level > MAX_LEVELS:
        return "..."
    if isinstance(value, str):
        return REDACTED if value == REDACTED else _cut(repr(value))
    if isinstance(value, list):
        return _cut(f"[{_items(value, level)}]")
    if isinstance(value, dict):
        return _cut(_mapping(value, level))
    return _cut(str(value))


def _mapping(value: dict[str, Any], level: int) -> str:
    if len(value) == 1:
        ((tag, data),) = value.items()
        if tag.startswith("$"):
            return _tagged(tag[1:], data, level)
    pairs = (f"{key}: {value_text(item, level + 1)}" for key, item in value.items())
    return f"{{{', '.join(pairs)}}}"


def _tagged(tag: str, data: Any, level: int) -> str:
    if (reference := _reference(tag, data)) is not None:
        return str(reference)
    if tag == "model" and isinstance(data, str):
        return data
    if tag == "dict" and isinstance(data, list):
        pairs = (
            f"{value_text(key, level + 1)}: {value_text(item, level + 1)}"
            for key, item in _pairs(data)
        )
        return f"{{{', '.join(pairs)}}}"
    if isinstance(data, list):
        return f"{tag}({_items(data, level)})"
    if isinstance(data, str | int | float) or data is None:
        return data if isinstance(data, str) and tag in PLAIN else f"{tag} {data}"
    return f"{tag} {value_text(data, level + 1)}"


#: Kinds of values whose stored text says enough by itself.
PLAIN = frozenset({"date", "datetime", "decimal", "float", "int", "safe", "uuid"})


def _items(values: list[Any], level: int) -> str:
    return ", ".join(value_text(each, level + 1) for each in values)


def _pairs(flat: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(flat, list):
        yield from zip(flat[::2], flat[1::2], strict=False)


def _reference(tag: str, data: Any) -> Reference | None:
    if tag != "instance" or not isinstance(data, list) or len(data) < 3:
        return None
    model, pk, database = data[:3]
    if not isinstance(model, str):
        return None
    text = pk if isinstance(pk, str) else value_text(pk)
    return Reference(model=model, pk=text, database=str(database))


def _references(value: Any) -> Iterator[Reference]:
    if isinstance(value, dict):
        for tag, data in value.items():
            reference = _reference(tag.removeprefix("$"), data)
            if tag.startswith("$") and reference is not None:
                yield reference
            else:
                yield from _references(data)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


def _cut(text: str, limit: int = MAX_VALUE) -> str:
    return text if len(text) <= limit else f"{text[: limit - 4]} ..."
