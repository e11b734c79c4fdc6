"""Model instances as they are when sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db.models import Model
from django.utils.functional import LazyObject

from signal_tasks.codec.instances import unwrapped, write_state
from signal_tasks.codec.protocols import Read, Reader, Write, Writer


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A model instance that travels as it is when sent, not by reference.

    It arrives as a model instance with every field that was loaded; no query is run.

    Raises:
        TypeError: for anything but a model instance.
    """

    instance: Any

    def __post_init__(self) -> None:
        if not isinstance(self.instance, Model):
            raise TypeError("Snapshot takes a model instance")
        if isinstance(self.instance, LazyObject):
            object.__setattr__(self, "instance", unwrapped(self.instance))


def write_snapshot(value: Snapshot, writer: Writer) -> object:
    """Write the instance that is wrapped, as it is."""
    return write_state(value.instance, writer)


def read_snapshot(data: list[Any], reader: Reader) -> Model:
    """Read an instance as it was; drop a field that its model no longer has."""
    label, database, adding, fields = data
    model: Any = apps.get_model(label)
    columns = [field.attname for field in model._meta.concrete_fields]
    names = [name for name in columns if name in fields]
    instance: Model = model.from_db(database, names, [fields[name] for name in names])
    instance._state.adding = adding
    return instance


WRITERS: dict[type, Write] = {Snapshot: write_snapshot}

READERS: dict[str, Read] = {"$snapshot": read_snapshot}
