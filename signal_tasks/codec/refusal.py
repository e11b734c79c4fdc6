"""Reasons for which a value cannot travel, and ways to avoid the error."""

from __future__ import annotations

import io
import types
from collections.abc import Awaitable, Callable, Iterator, MappingView
from datetime import tzinfo
from pathlib import PurePath
from typing import Any

from django.core.exceptions import ValidationError
from django.core.files import File
from django.db.models import F, Manager, Q
from django.db.models.expressions import BaseExpression
from django.db.models.query import QuerySet
from django.http import HttpRequest

BUILTINS = (str, bytes, int, float, list, tuple, set, frozenset, dict)

REQUEST = 'send the values that you need from it, or use exclude=("request",)'
QUERYSET = 'send its keys: list(qs.values_list("pk", flat=True))'
EXPRESSION = "only the database knows its value: call refresh_from_db() first"

# The first match is used: put special classes before general ones.
HINTS: tuple[tuple[Any, str], ...] = (
    (HttpRequest, REQUEST),
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
    (Callable, "code is not sent: send data, and let the receiver choose the code"),
)

# Errors that damaged data or changed code raise. Not Exception: a database that does
# not answer, or a time limit, tells nothing about the data.
DATA_ERRORS = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    RuntimeError,
    TypeError,
    ValidationError,
    ValueError,
)


class Refused(Exception):
    """A value cannot travel.

    Attributes:
        problem: what is wrong, and how to avoid it.
        path: leads to the value; each caller puts its own step in front.
        argument: the outermost step, which is the name of a keyword or "sender".
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = ""
        self.argument = ""


class TooLarge(Refused):
    """The payload would be longer than it may be."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the payload is longer than {limit} bytes; send a key to the data instead "
            "(a model instance travels as its key), or raise "
            'SIGNAL_TASKS["MAX_PAYLOAD_BYTES"]'
        )


def title(kind: type) -> str:
    """Return the name of a class as it stands in error messages."""
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def one(kind: type) -> str:
    """Return "a" or "an" and the name of a class: of a value that is refused."""
    name = title(kind)
    return f"{'an' if name[0] in 'aeioAEIO' else 'a'} {name}"


def unknown(kind: type) -> Refused:
    """Return the error for a class that the codec does not know."""
    for classes, hint in HINTS:
        if issubclass(kind, classes):
            return Refused(f"{one(kind)} cannot travel; {hint}")
    for builtin in BUILTINS:
        if issubclass(kind, builtin):
            return _subclass(kind, builtin)
    if hasattr(kind, "tolist"):  # arrays of numpy and of libraries that follow it
        return Refused(f"{one(kind)} cannot travel; send value.tolist()")
    return Refused(
        f"{one(kind)} cannot travel; send its data instead, leave it out, "
        "or teach its type with signal_tasks.register_type()"
    )


def _subclass(kind: type, builtin: type) -> Refused:
    name = builtin.__name__
    return Refused(
        f"{one(kind)} would arrive as a plain {name}; send {name}(value), "
        "or teach its type with signal_tasks.register_type()"
    )


def step(key: object) -> str:
    """Return one step of a path into a dict; run no code of the key's class."""
    if type(key) is str:
        return f"[{key[:40]!r}]"
    if type(key) is int and -1e9 < key < 1e9:
        return f"[{key}]"
    return f"[<{title(type(key))}>]"


def shortened(text: str) -> str:
    """Return the text with its middle left out if it is long."""
    return text if len(text) <= 240 else f"{text[:120]} ... {text[-100:]}"
