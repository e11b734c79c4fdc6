"""Receivers that see a tenant's rows, and answer there."""

from __future__ import annotations

from typing import Any

from django.db import connection as untyped
from django.db.models.signals import post_save

from signal_tasks import async_receiver
from tests.tenants.notes.models import Note

connection: Any = untyped
seen: list[list[str]] = []


def _answer(how: str, instance: Note, created: bool) -> None:
    if created:
        tenant = getattr(connection.tenant, "name", "")
        seen.append([how, connection.schema_name, tenant, instance.text])
        Note.objects.filter(pk=instance.pk).update(answer=f"to {instance.text}")
        if instance.text == "wrong":
            raise ValueError(instance.text)


@async_receiver(post_save, sender=Note)
def answer(sender: type, instance: Note, created: bool, **kwargs: Any) -> None:
    _answer("atomic", instance, created)


@async_receiver(post_save, sender=Note, atomic=False)
def answer_outside(sender: type, instance: Note, created: bool, **kwargs: Any) -> None:
    _answer("outside", instance, created)
