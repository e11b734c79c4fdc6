"""Django's own values: models, their instances, and lazy objects."""

# ruff: noqa: SLF001 - _meta, _state and _base_manager are documented by Django

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import connections, router
from django.db.models import Model
from django.db.models.base import ModelBase
from django.db.models.fields.files import FieldFile
from django.utils.functional import LazyObject, Promise

from signal_tasks.codec.classes import write_class
from signal_tasks.codec.refusal import Refused, title
from signal_tasks.exceptions import DecodeError, MissingInstance

if TYPE_CHECKING:
    from signal_tasks.codec.reader import Read, Reader
    from signal_tasks.codec.writer import Write, Writer


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A model instance that travels as it is when sent, not by reference.

    It arrives as a model instance, with every field that was loaded, and no query.

    Raises:
        TypeError: for anything but a model instance.
    """

    instance: Any

    def __post_init__(self) -> None:
        if not isinstance(self.instance, Model):
            raise TypeError("Snapshot takes a model instance")
        if isinstance(self.instance, LazyObject):
            object.__setattr__(self, "instance", _unwrapped(self.instance))


def writer_for(kind: type) -> Write | None:
    """How to write values of this class, if it is one of Django's."""
    if issubclass(kind, Model):
        return write_reference
    if issubclass(kind, ModelBase):
        return write_model
    if issubclass(kind, LazyObject):
        return write_unwrapped
    # A lazy text is known by the methods its proxy has.
    if issubclass(kind, Promise) and hasattr(kind, "casefold"):
        return write_lazy_text
    return None


def write_lazy_text(value: Promise, writer: Writer) -> object:
    """A lazy string, in the language of the sender."""
    return writer.write(str.__str__(str(value)))


def write_unwrapped(value: LazyObject[Any], writer: Writer) -> object:
    """What a lazy object stands for, loaded if need be."""
    return writer.write(_unwrapped(value))


def _unwrapped(value: LazyObject[Any]) -> object:
    # What pickle would store: the public way in, that SimpleLazyObject has too.
    return LazyObject.__reduce__(value)[1][0]


def write_model(value: type[Model], writer: Writer) -> object:
    """A model class by its label; an abstract one is a class like any other."""
    if value is Model or value._meta.abstract:
        return write_class(value, writer)
    return {"$model": _label(value)}


def read_model(data: str, reader: Reader) -> type[Model]:
    """A model class."""
    return apps.get_model(data)


def _label(model: type[Model]) -> str:
    label = model._meta.label_lower
    try:
        known = apps.get_model(label)
    except LookupError:
        known = None
    if known is not model:
        raise Refused(
            f"{title(model)} is not the model that a worker finds as {label} "
            "(a historical model of a migration?); send the primary key"
        )
    return label


def write_reference(value: Model, writer: Writer) -> object:
    """A model instance: its model, its key, and the database to read it from.

    That database is the one it would be written to: a replica may lag behind.
    """
    model, pk = type(value), value.pk
    if value._state.adding or pk is None or (type(pk) is tuple and None in pk):
        raise Refused(
            f"this {title(model)} has not been saved (or was deleted); save it first, "
            "or wrap it in signal_tasks.Snapshot() to send it as it is"
        )
    database = router.db_for_write(model, instance=value)
    return {"$instance": [_label(model), writer.write_at(".pk", pk), database]}


def read_reference(data: list[Any], reader: Reader) -> Model | None:
    """The instance as its database has it now; read once for each payload."""
    key = label, pk, database = tuple(data)
    if key not in reader.seen:
        reader.seen[key] = _fetch(apps.get_model(label), pk, database, reader)
    return reader.seen[key]


def _fetch(model: Any, pk: object, database: str, reader: Reader) -> Model | None:
    if database not in connections:
        raise DecodeError(f"this process has no database {database!r} to read from")
    try:
        return model._base_manager.using(database).get(pk=pk)  # type: ignore[no-any-return]
    except model.DoesNotExist:
        if reader.on_missing == "none":
            return None
        raise MissingInstance(model._meta.label, pk, database) from None


def write_snapshot(value: Snapshot, writer: Writer) -> object:
    """The loaded fields of an instance; deferred ones stay deferred."""
    instance = value.instance
    state, loaded = instance._state, instance.__dict__
    columns = [field.attname for field in instance._meta.concrete_fields]
    names = [name for name in columns if name in loaded]
    values = [_stored(loaded[name], name) for name in names]
    written = writer.write_each(instance, values, lambda i: f".{names[i]}")
    fields = dict(zip(names, written, strict=True))
    return {"$snapshot": [_label(type(instance)), state.db, state.adding, fields]}


def _stored(value: object, name: str) -> object:
    """What stands for a field's value where its database would hold it."""
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, FieldFile) and value._committed:  # type: ignore[attr-defined]
        return value.name
    return value


def read_snapshot(data: list[Any], reader: Reader) -> Model:
    """An instance as it was; a field that its model no longer has is dropped."""
    label, database, adding, fields = data
    model: Any = apps.get_model(label)
    columns = [field.attname for field in model._meta.concrete_fields]
    names = [name for name in columns if name in fields]
    instance: Model = model.from_db(database, names, [fields[name] for name in names])
    instance._state.adding = adding
    return instance


WRITERS: dict[type, Write] = {Snapshot: write_snapshot}

READERS: dict[str, Read] = {
    "$model": read_model,
    "$instance": read_reference,
    "$snapshot": read_snapshot,
}
