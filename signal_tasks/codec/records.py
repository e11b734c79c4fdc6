"""Instances of attrs classes, pydantic models and msgspec Structs.

Each is written as the name of its class, its fields and the rest of its state (Note
[State]), and arrives in the state it had, as a dataclass does: no converter, validator or ``__init__`` runs again, except
where it is said. A field that is new in the class takes its default; one that is gone
is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from signal_tasks.codec.classes import (
    class_of,
    name_of,
    refuse_builtin,
    set_rest,
    write_fields,
    write_rest,
)
from signal_tasks.codec.externals import External, derived_class, is_a
from signal_tasks.codec.protocols import Read, Reader, Write, Writer

FACTORY = External("attr", "Factory")
NOTHING = External("attr", "NOTHING")
MODEL = External("pydantic.main", "BaseModel")
STRUCT = External("msgspec", "Struct")
FORCE_SETATTR = External("msgspec.structs", "force_setattr")

# An attrs class with cache_hash=True expects that its constructor has set it.
_CACHED_HASH = "_attrs_cached_hash"

# The state of a pydantic model besides its fields.
_PYDANTIC_REST = (
    "__pydantic_fields_set__",
    "__pydantic_extra__",
    "__pydantic_private__",
)


def writer_for(kind: type) -> Write | None:
    """Return the function that writes instances of this class, if it is of a kind."""
    if hasattr(kind, "__attrs_attrs__"):
        return write_attrs
    if is_a(kind, MODEL) and hasattr(kind, "model_fields"):  # not of pydantic 1
        return write_pydantic
    return write_struct if is_a(kind, STRUCT) else None


def write_attrs(value: Any, writer: Writer) -> object:
    """Write the class of an attrs instance, and the attributes that are set."""
    kind: Any = type(value)
    refuse_builtin(kind, "class of attrs")
    names = [field.name for field in kind.__attrs_attrs__]
    set_ = [name for name in names if hasattr(value, name)]
    fields = write_fields(value, set_, writer)
    rest = write_rest(value, {*names, _CACHED_HASH, *_attrs_slots(kind)}, writer)
    return {"$attrs": [name_of(kind), fields, hasattr(value, _CACHED_HASH), *rest]}


def _attrs_slots(kind: type) -> Iterator[str]:
    """Yield the slots that attrs has made: for fields, and for what is no data."""
    for base in kind.__mro__:
        if "__attrs_attrs__" in vars(base):
            yield from getattr(base, "__slots__", ())


def read_attrs(data: list[Any], reader: Reader) -> object:
    """Read an attrs instance; a new attribute takes its default."""
    name, values, caches_hash, *rest = data
    kind = class_of(name)
    made = object.__new__(kind)
    if caches_hash:
        object.__setattr__(made, _CACHED_HASH, None)
    for field in kind.__attrs_attrs__:
        if field.name in values:
            value = values[field.name]
        elif field.init:
            value = _attrs_default(field, made)
        else:
            continue
        object.__setattr__(made, field.name, value)
    set_rest(made, rest)
    return made


def _attrs_default(field: Any, made: object) -> object:
    default = field.default
    if default is NOTHING.load():
        raise _no_value(field.name)
    if isinstance(default, FACTORY.load()):
        return default.factory(*[made] if default.takes_self else [])
    return default


def _no_value(name: str) -> ValueError:
    return ValueError(f"the field {name} has neither a value nor a default")


def write_pydantic(value: Any, writer: Writer) -> object:
    """Write the class of a pydantic model, and the state that pickle would keep."""
    kind: Any = type(value)
    state = MODEL.imported().__getstate__(value)
    names = [name for name in kind.model_fields if name in state["__dict__"]]
    rest = [state[key] for key in _PYDANTIC_REST]
    fields = write_fields(value, names, writer)
    return {"$pydantic": [name_of(kind), fields, *map(writer.write, rest)]}


def read_pydantic(data: list[Any], reader: Reader) -> object:
    """Read a pydantic model; nothing is validated, a new field takes its default."""
    name, values, *rest = data
    kind = derived_class(name, MODEL)
    fields = {
        key: values[key] if key in values else _pydantic_default(key, field)
        for key, field in kind.model_fields.items()
    }
    state = dict(zip(_PYDANTIC_REST, rest, strict=True))
    made = kind.__new__(kind)
    MODEL.load().__setstate__(made, {"__dict__": fields, **state})
    return made


def _pydantic_default(name: str, field: Any) -> object:
    if field.is_required():
        raise _no_value(name)
    return field.get_default(call_default_factory=True)


def write_struct(value: Any, writer: Writer) -> object:
    """Write the class of a msgspec Struct, and its fields."""
    kind: Any = type(value)
    names = kind.__struct_fields__
    fields = write_fields(value, names, writer)
    return {"$struct": [name_of(kind), fields, *write_rest(value, names, writer)]}


def read_struct(data: list[Any], reader: Reader) -> object:
    """Read a Struct; a new field takes its default.

    Its constructor and ``__post_init__`` run, since msgspec has no other way to make
    one; the fields are then set to what they were.
    """
    name, values, *rest = data
    kind = derived_class(name, STRUCT)
    known = {key: values[key] for key in kind.__struct_fields__ if key in values}
    made = kind(**known)
    for key, value in known.items():
        FORCE_SETATTR.load()(made, key, value)
    for others in rest:
        getattr(made, "__dict__", {}).update(others)
    return made


READERS: dict[str, Read] = {
    "$attrs": read_attrs,
    "$pydantic": read_pydantic,
    "$struct": read_struct,
}
