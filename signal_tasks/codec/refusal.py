"""Why a value cannot travel, and the way out."""

from __future__ import annotations

import io
import types
from collections.abc import Awaitable, Callable, Iterator, MappingView
from datetime import tzinfo
from pathlib import PurePath
from typing import Any

from django.core.files import File
from django.db.models import F, Manager, Q
from django.db.models.expressions import BaseExpression
from django.db.models.query import QuerySet
from django.http import HttpRequest

BUILTINS = (str, bytes, int, float, list, tuple, set, frozenset, dict)

QUERYSET = 'send its keys: list(qs.values_list("pk", flat=True))'
EXPRESSION = "it has a value only in the database: call refresh_from_db() first"

# The first that fits is told, so the special stand before the general.
HINTS: tuple[tuple[Any, str], ...] = (
    (HttpRequest, 'leave it out with exclude=("request",), or send what you need'),
    ((QuerySet, Manager), QUERYSET),
    ((BaseExpression, F, Q), EXPRESSION),
    ((File, io.IOBase), "send the name of a saved file, or its content as bytes"),
    (PurePath, "send str(path)"),
    (memoryview, "send bytes(value)"),
    (tzinfo, "use zoneinfo.ZoneInfo or a fixed datetime.timezone"),
    (BaseException, "send str(error)"),
    ((types.ModuleType, types.GenericAlias), "send its name as a string"),
    (Awaitable, "await it and send its result"),
    ((Iterator, MappingView, range), "send list(value)"),
    (types.MappingProxyType, "send dict(value)"),
    (Callable, "code stays here: send data, and let the receiver choose the code"),
)


class Refused(Exception):
    """A value cannot travel; the path to it grows while this passes outwards."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = ""


def title(kind: type) -> str:
    """The name of a class as a reader of an error message looks for it."""
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def unknown(kind: type) -> Refused:
    """The refusal of a type that nobody has told us how to carry."""
    for classes, hint in HINTS:
        if issubclass(kind, classes):
            return Refused(f"a {title(kind)} cannot travel; {hint}")
    for builtin in BUILTINS:
        if issubclass(kind, builtin):
            return _lookalike(kind, builtin)
    return Refused(
        f"a {title(kind)} cannot travel; send its data instead, leave it out, "
        "or teach its type with signal_tasks.register_type()"
    )


def _lookalike(kind: type, builtin: type) -> Refused:
    name = builtin.__name__
    return Refused(
        f"a {title(kind)} would not arrive as one but as a plain {name}; send "
        f"{name}(value), or teach its type with signal_tasks.register_type()"
    )


def step(key: object) -> str:
    """One step of a path into a dict; runs no code of the key's class."""
    if type(key) is str:
        return f"[{key[:40]!r}]"
    if type(key) is int and -1e9 < key < 1e9:
        return f"[{key}]"
    return f"[<{title(type(key))}>]"
