"""Classes, and values whose class belongs to the application.

Enum members, dataclass instances and named tuples carry the name of their class. The
name is checked at send: it has to lead back to the class, so that a worker finds it.

# Note [State]
An instance carries its declared fields, and besides them the rest of its state, if
there is any: what ``__post_init__`` or the ``__init__`` of a subclass has set. Left out
is what is no data: values that a ``cached_property`` keeps, and names with two
underscores on both sides, which belong to Python and to packages.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum, Flag
from functools import cached_property, lru_cache
from importlib import import_module
from inspect import getattr_static
from operator import attrgetter
from typing import Any

from django.utils.functional import cached_property as django_cached_property

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
    known = [field.name for field in fields(kind)]
    names = [name for name in known if hasattr(value, name)]
    written = write_fields(value, names, writer)
    return {"$dataclass": [name_of(kind), written, *write_rest(value, known, writer)]}


def refuse_builtin(kind: type, what: str) -> None:
    """Refuse a class whose fields are not its whole state."""
    if issubclass(kind, (*BUILTINS, BaseException)):
        raise Refused(f"{title(kind)} is a {what} with a builtin type as its base")


def write_namedtuple(value: Any, writer: Writer) -> object:
    """Write the class of a named tuple, and its values by name."""
    kind: Any = type(value)
    written = write_fields(value, value._fields, writer)
    return {"$namedtuple": [name_of(kind), written, *write_rest(value, (), writer)]}


def write_fields(value: Any, names: Iterable[str], writer: Writer) -> dict[str, object]:
    """Write these attributes of a value, by name."""
    names = list(names)
    values = [getattr(value, name) for name in names]
    written = writer.write_each(value, values, lambda i: f".{names[i]}")
    return dict(zip(names, written, strict=True))


def write_rest(
    value: object, known: Collection[str], writer: Writer
) -> list[dict[str, object]]:
    """Write what is set besides the known names; nothing if that is all: Note [State].

    For attributes in slots, ``known`` has to name those that are no data.
    """
    state: Any = object.__getstate__(value)
    in_dict, in_slots = state if type(state) is tuple else (state, None)
    rest = {**(in_dict or {}), **(in_slots or {})}
    names = [name for name in rest if name not in known and _is_data(value, name)]
    return [write_fields(value, names, writer)] if names else []


def _is_data(value: object, name: str) -> bool:
    if name.startswith("__") and name.endswith("__"):
        return False
    keeper = getattr_static(type(value), name, None)
    return not isinstance(keeper, cached_property | django_cached_property)


def set_rest(made: object, rest: list[dict[str, object]]) -> None:
    """Set what ``write_rest`` wrote; drop what the class has no place for any more."""
    for values in rest:
        for name, value in values.items():
            with suppress(AttributeError):
                object.__setattr__(made, name, value)


def read_dataclass(data: list[Any], reader: Reader) -> object:
    """Read a dataclass instance in the state it had; run no ``__init__``.

    A field that is new in the class takes its default; one that is gone is dropped.
    """
    name, values, *rest = data
    kind = class_of(name)
    known, made = fields(kind), object.__new__(kind)
    for field in known:
        value = values.get(field.name, MISSING)
        value = _default(field) if value is MISSING else value
        if value is not MISSING:
            object.__setattr__(made, field.name, value)
    set_rest(made, rest)
    return made


def _default(field: Field[Any]) -> object:
    if field.default_factory is not MISSING:
        return field.default_factory()
    if field.default is MISSING and field.init:
        raise ValueError(f"the field {field.name} has neither a value nor a default")
    return field.default


def read_namedtuple(data: list[Any], reader: Reader) -> tuple[Any, ...]:
    """Read a named tuple; a field that is new in the class takes its default."""
    name, values, *rest = data
    kind = class_of(name, tuple)
    known: Mapping[str, Any] = {**kind._field_defaults, **values}
    made: tuple[Any, ...] = tuple.__new__(
        kind, [known[field] for field in kind._fields]
    )
    set_rest(made, rest)
    return made


READERS: dict[str, Read] = {
    "$class": read_class,
    "$enum": read_enum,
    "$flag": read_flag,
    "$dataclass": read_dataclass,
    "$namedtuple": read_namedtuple,
}
