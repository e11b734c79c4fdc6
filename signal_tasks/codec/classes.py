"""Classes, and values whose class belongs to the application.

Enum members, dataclass instances and named tuples carry the name of their class. The
name is checked at send: it has to lead back to the class, so that a worker finds it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum, Flag
from functools import lru_cache
from importlib import import_module
from operator import attrgetter
from typing import Any

from signal_tasks.codec.protocols import Read, Reader, Write, Writer
from signal_tasks.codec.refusal import BUILTINS, Refused, title


@lru_cache(maxsize=512)
def name_of(kind: type) -> str:
    """Return the ``module:qualname`` by which another process finds this class."""
    module, path = kind.__module__, kind.__qualname__
    if module == "__main__" or not _leads_to(module, path, kind):
        raise Refused(
            f"{title(kind)} cannot be imported by that name in a worker; "
            "define it at the top level of a module"
        )
    return f"{module}:{path}"


def _leads_to(module: str, path: str, kind: type) -> bool:
    try:
        return attrgetter(path)(sys.modules[module]) is kind
    except (AttributeError, KeyError):
        return False


def class_of(name: str, base: type = object) -> type[Any]:
    """Return the class of that name; raise TypeError if it is no ``base``."""
    module, path = name.split(":")
    found = attrgetter(path)(import_module(module))
    if not isinstance(found, type) or not issubclass(found, base):
        raise TypeError(f"{name} is not a class of kind {base.__name__}")
    return found


def writer_for(kind: type) -> Write | None:
    """Return the function that writes this kind of class or its instances, if any."""
    if issubclass(kind, type):
        return write_class
    if issubclass(kind, Enum):
        return write_flag if issubclass(kind, Flag) else write_enum
    if is_dataclass(kind):
        return write_dataclass
    if issubclass(kind, tuple) and hasattr(kind, "_field_defaults"):
        return write_namedtuple
    return None


def write_class(value: type, writer: Writer) -> object:
    """Write the name of a class."""
    return {"$class": name_of(value)}


def read_class(data: str, reader: Reader) -> type:
    """Read a class."""
    return class_of(data)


def write_enum(value: Enum, writer: Writer) -> object:
    """Write a member of an enum by its name, since its value can be of any type."""
    kind: Any = type(value)
    if value._name_ not in kind.__members__:
        raise Refused(f"{value._name_} is not a member that {title(kind)} declares")
    return {"$enum": [name_of(kind), value._name_]}


def read_enum(data: list[str], reader: Reader) -> Enum:
    """Read a member of an enum."""
    kind, name = data
    return class_of(kind, Enum).__members__[name]  # type: ignore[no-any-return]


def write_flag(value: Flag, writer: Writer) -> object:
    """Write a flag by its value, since a combination of flags may have no name."""
    return {"$flag": [name_of(type(value)), writer.write(value._value_)]}


def read_flag(data: list[Any], reader: Reader) -> Flag:
    """Read a flag or a combination of flags."""
    kind, value = data
    return class_of(kind, Flag)(value)  # type: ignore[no-any-return]


def write_dataclass(value: Any, writer: Writer) -> object:
    """Write the class of a dataclass instance and the fields that are set."""
    kind: Any = type(value)
    refuse_builtin(kind, "dataclass")
    names = [field.name for field in fields(kind) if hasattr(value, field.name)]
    return {"$dataclass": [name_of(kind), write_fields(value, names, writer)]}


def refuse_builtin(kind: type, what: str) -> None:
    """Refuse a class whose fields are not its whole state."""
    if issubclass(kind, (*BUILTINS, BaseException)):
        raise Refused(f"{title(kind)} is a {what} with a builtin type as its base")


def write_namedtuple(value: Any, writer: Writer) -> object:
    """Write the class of a named tuple, and its values by name."""
    kind: Any = type(value)
    return {"$namedtuple": [name_of(kind), write_fields(value, value._fields, writer)]}


def write_fields(value: Any, names: Iterable[str], writer: Writer) -> dict[str, object]:
    """Write these attributes of a value, by name."""
    names = list(names)
    values = [getattr(value, name) for name in names]
    written = writer.write_each(value, values, lambda i: f".{names[i]}")
    return dict(zip(names, written, strict=True))


def read_dataclass(data: list[Any], reader: Reader) -> object:
    """Read a dataclass instance in the state it had; run no ``__init__``.

    A field that is new in the class takes its default; one that is gone is dropped.
    """
    name, values = data
    kind = class_of(name)
    known, made = fields(kind), object.__new__(kind)
    for field in known:
        value = values.get(field.name, MISSING)
        value = _default(field) if value is MISSING else value
        if value is not MISSING:
            object.__setattr__(made, field.name, value)
    return made


def _default(field: Field[Any]) -> object:
    if field.default_factory is not MISSING:
        return field.default_factory()
    if field.default is MISSING and field.init:
        raise ValueError(f"the field {field.name} has neither a value nor a default")
    return field.default


def read_namedtuple(data: list[Any], reader: Reader) -> tuple[Any, ...]:
    """Read a named tuple; a field that is new in the class takes its default."""
    name, values = data
    kind = class_of(name, tuple)
    known: Mapping[str, Any] = {**kind._field_defaults, **values}
    return tuple.__new__(kind, [known[field] for field in kind._fields])


READERS: dict[str, Read] = {
    "$class": read_class,
    "$enum": read_enum,
    "$flag": read_flag,
    "$dataclass": read_dataclass,
    "$namedtuple": read_namedtuple,
}
