"""Values of model fields that only their field can convert to text and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.core.files import File
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import F, Field, Model
from django.db.models.base import ModelState
from django.db.models.expressions import BaseExpression
from django.db.models.fields.files import FieldFile

from signal_tasks.codec.dates import WRITERS as DATES
from signal_tasks.codec.protocols import Read, Reader, Write, Writer
from signal_tasks.codec.refusal import Refused, TooLarge, title
from signal_tasks.codec.scalars import WRITERS as SCALARS

SIMPLE = SCALARS.keys() | DATES.keys()

CONVERT = "; or give its field a value_to_string() that its to_python() reads back"

# Not values of the field: a file that is not stored, and what the database computes.
_NOT_VALUES = (File, F, BaseExpression)


class Column(NamedTuple):
    """A value of a model instance, with the field it belongs to."""

    instance: Model
    field: Field[Any, Any]
    value: object


def column(instance: Model, field: Field[Any, Any], value: object) -> object:
    """Return the value to write for a field: if it is simple, the value itself."""
    if type(value) in SIMPLE:
        return value
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, FieldFile) and _is_stored(value):
        return value.name
    return Column(instance, field, value)


def _is_stored(file: Any) -> bool:
    return bool(file._committed)  # noqa: SLF001 - Django has no public name for it


def label_of(model: type[Model]) -> str:
    """Return the label by which a worker finds this model."""
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


def write_column(column: Column, writer: Writer) -> object:
    """Write the value if it can travel, else in a form that its field can read."""
    left = writer.left
    try:
        return writer.write(column.value)
    except TooLarge:
        raise
    except Refused as refused:
        if isinstance(column.value, _NOT_VALUES):
            raise
        writer.left = left
        return _write_form(column, refused, writer)


def _write_form(column: Column, refused: Refused, writer: Writer) -> object:
    for form in _forms(column):
        if _is_exact(column, form):
            kind, data = form
            field = [label_of(type(column.instance)), column.field.name]
            return {"$column": [*field, kind, writer.write(data)]}
    if not refused.path:
        refused.problem += CONVERT
    raise refused


def _forms(column: Column) -> Iterator[tuple[str, Any]]:
    """Make the forms that the field itself knows: for fixtures, and for the database.

    A form that cannot be made is passed over; the caller has an error to raise if no
    form is left.
    """
    for kind, make in (("text", _to_text), ("stored", _to_stored)):
        with suppress(Exception):  # a field of any package may raise its own errors
            yield kind, make(column)


def _to_text(column: Column) -> object:
    return column.field.value_to_string(column.instance)


def _to_stored(column: Column) -> object:
    return column.field.get_prep_value(column.value)


def _from_form(field: Any, kind: str, data: object) -> object:
    if kind == "stored" and hasattr(field, "from_db_value"):
        connection = connections[DEFAULT_DB_ALIAS]
        return field.from_db_value(data, field.cached_col, connection)
    return field.to_python(data)


def _is_exact(column: Column, form: tuple[str, Any]) -> bool:
    """Return whether the form leads back to the value: many fields only lead there."""
    kind, data = form
    if type(data) not in SIMPLE:
        return False
    with suppress(Exception):  # as above
        before = getattr(column.instance, column.field.attname)
        after = _assigned(column, _from_form(column.field, kind, data))
        return type(after) is type(before) and bool(after == before)
    return False


def _assigned(column: Column, value: object) -> object:
    """Return the value as it is read from an instance to which it was assigned.

    Some fields convert a value only then, in the descriptor on their model.
    """
    model, name = type(column.instance), column.field.attname
    instance = object.__new__(model)
    instance._state = ModelState()
    setattr(instance, name, value)
    return getattr(instance, name)


def read_column(data: list[Any], reader: Reader) -> object:
    """Read the value of a field."""
    label, name, kind, form = data
    try:
        field = apps.get_model(label)._meta.get_field(name)
    except FieldDoesNotExist:
        return form  # which a snapshot drops, like any value of a field that is gone
    return _from_form(field, kind, form)


WRITERS: dict[type, Write] = {Column: write_column}

READERS: dict[str, Read] = {"$column": read_column}
