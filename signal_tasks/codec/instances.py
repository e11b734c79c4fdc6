"""Django's own values: models, their instances, users and lazy objects.

# Note [Home]
An instance is written with the alias of the database that its row belongs to, from
which a receiver reads whatever it has to read. That is the one that the instance was
loaded from or saved to, if that is one of the ``databases``, which are written to: the
routers of a project may name another one for all writes. Any other may be a replica,
which may be late, so there the routers say where the row is written; without routers
that is where it came from.
"""

from __future__ import annotations

import sys
from typing import Any

from django.apps import apps
from django.db import connections, router
from django.db.models import Model, QuerySet
from django.db.models.base import ModelBase
from django.utils.functional import LazyObject, Promise
from django.utils.safestring import SafeString

from signal_tasks.codec.classes import class_of, name_of, write_class
from signal_tasks.codec.fields import SIMPLE, column, label_of
from signal_tasks.codec.protocols import Read, Reader, Write, Writer
from signal_tasks.codec.refusal import Refused, title
from signal_tasks.exceptions import DecodeError, MissingInstance


def writer_for(kind: type) -> Write | None:
    """Return the function that writes values of this class, if it is Django's."""
    if issubclass(kind, Model):
        return write_instance
    if issubclass(kind, ModelBase):
        return write_model
    if issubclass(kind, LazyObject):
        return write_unwrapped
    # A lazy text is known by the methods its proxy has.
    if issubclass(kind, Promise) and hasattr(kind, "casefold"):
        return write_lazy_text
    return write_anonymous if _is_anonymous(kind) else None


def write_lazy_text(value: Promise, writer: Writer) -> object:
    """Write a lazy string in the language of the sender."""
    text = str(value)
    return writer.write(text if type(text) is SafeString else str.__str__(text))


def write_unwrapped(value: LazyObject[Any], writer: Writer) -> object:
    """Write the object that a lazy object stands for; load it if need be."""
    return writer.write(unwrapped(value))


def unwrapped(value: LazyObject[Any]) -> object:
    """Return the object that a lazy object stands for."""
    # pickle uses the same public method; SimpleLazyObject has it too.
    return LazyObject.__reduce__(value)[1][0]


def _anonymous_user() -> type | None:
    """Return Django's class, unless the project has not loaded ``auth``."""
    module = sys.modules.get("django.contrib.auth.models")
    return getattr(module, "AnonymousUser", None)


def _is_anonymous(kind: type) -> bool:
    base: Any = _anonymous_user()
    return (
        base is not None and issubclass(kind, base) and kind.__init__ is base.__init__  # type: ignore[misc]
    )


def write_anonymous(value: Any, writer: Writer) -> object:
    """Write the class of an anonymous user, which has no row and no state."""
    kind: Any = type(value)
    return {"$anonymous": name_of(kind)}


def read_anonymous(data: str, reader: Reader) -> object:
    """Read an anonymous user."""
    kind = class_of(data)
    if not _is_anonymous(kind):
        raise TypeError(f"{data} is not a class of anonymous users")
    return kind()


def write_model(value: type[Model], writer: Writer) -> object:
    """Write the label of a model; an abstract one is written as any class."""
    if value is Model or value._meta.abstract:
        return write_class(value, writer)
    return {"$model": label_of(value)}


def read_model(data: str, reader: Reader) -> type[Model]:
    """Read a model class."""
    return apps.get_model(data)


def write_instance(value: Model, writer: Writer) -> object:
    """Write an instance in the form that the sender has chosen for all of them."""
    write = write_state if writer.rows.snapshot else write_reference
    return write(value, writer)


def home_of(value: Model, writer: Writer) -> str:
    """Return the alias of the database that a row belongs to: Note [Home]."""
    database = value._state.db
    if database is not None and database in writer.rows.databases:
        return database
    return router.db_for_write(type(value), instance=value)


def write_state(value: Model, writer: Writer) -> object:
    """Write the loaded fields of an instance; deferred ones stay deferred."""
    state, loaded = value._state, value.__dict__
    fields = [f for f in value._meta.concrete_fields if f.attname in loaded]
    values = [column(value, f, loaded[f.attname]) for f in fields]
    written = writer.write_each(value, values, lambda i: f".{fields[i].attname}")
    data = {f.attname: part for f, part in zip(fields, written, strict=True)}
    database = home_of(value, writer) if state.db else None
    return {"$snapshot": [label_of(type(value)), database, state.adding, data]}


def write_reference(value: Model, writer: Writer) -> object:
    """Write the model and key of an instance, and the database to read it from."""
    model, pk = type(value), value.pk
    if value._state.adding or pk is None or (type(pk) is tuple and None in pk):
        raise Refused(
            f"this {title(model)} has not been saved (or was deleted); save it first, "
            "or wrap it in signal_tasks.Snapshot() to send it as it is"
        )
    key = pk if type(pk) in SIMPLE else column(value, model._meta.pk, pk)
    written = writer.write_at(".pk", key)
    return {"$instance": [label_of(model), written, home_of(value, writer)]}


def read_reference(data: list[Any], reader: Reader) -> Model | None:
    """Read the instance from its database, once for each payload."""
    key = label, pk, database = tuple(data)
    if key not in reader.seen:
        reader.seen[key] = _fetch(apps.get_model(label), pk, database, reader)
    return reader.seen[key]


def _fetch(model: Any, pk: object, database: str, reader: Reader) -> Model | None:
    if database not in connections:
        raise DecodeError(f"this process has no database {database!r} to read from")
    try:
        found: Model = model._base_manager.using(database).get(pk=pk)
    except model.DoesNotExist:
        if reader.on_missing == "none":
            return None
        hidden = QuerySet(model, using=database).filter(pk=pk).exists()
        label = model._meta.label
        raise MissingInstance(label, pk, database, hidden=hidden) from None
    if type(found) is not model:  # its manager returns the most special class
        found = QuerySet(model, using=database).get(pk=pk)
    return found


READERS: dict[str, Read] = {
    "$anonymous": read_anonymous,
    "$model": read_model,
    "$instance": read_reference,
}
