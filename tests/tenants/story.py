"""A story of two tenants, run in a process of its own; prints what was seen."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import psycopg

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.tenants.settings"

import django
import environ
from celery import Celery
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection as untyped
from django.db import transaction

connection: Any = untyped
NAME = "test_signal_tasks_tenants"


def make_database() -> None:
    conf = environ.Env.db_url_config(os.environ["TENANTS_URL"])
    keys = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD"}
    given = {key: conf[name] for key, name in keys.items() if conf.get(name)}
    with psycopg.connect(dbname="postgres", autocommit=True, **given) as server:
        server.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
        server.execute(f"CREATE DATABASE {NAME}")


def set_up() -> None:
    make_database()
    app = Celery("tenants")
    app.config_from_object("django.conf:settings", namespace="CELERY")
    app.set_default()
    django.setup()
    call_command("migrate_schemas", schema_name="public", verbosity=0)
    for model in django.apps.apps.get_app_config("customers").get_models():
        with connection.schema_editor() as editor:
            editor.create_model(model)


def make_tenants() -> list[Any]:
    from tests.tenants.customers.models import Client
    from tests.tenants.notes.models import Note

    tenants: list[Any] = []
    for name in ("one", "two"):
        tenant = Client(schema_name=name, name=f"the tenant {name}")
        tenant.save(verbosity=0)
        connection.set_tenant(tenant)
        with connection.schema_editor() as editor:
            editor.create_model(Note)
        connection.set_schema_to_public()
        tenants.append(tenant)
    return tenants


def run_as_a_worker_does() -> None:
    """Run what is pending over a connection of its own, in the public schema."""
    from signal_tasks.testing import run_pending

    connection.close()
    connection.set_schema_to_public()
    run_pending()


def write_notes(tenants: list[Any], texts: list[str]) -> list[str]:
    from tests.tenants.notes.models import Note

    errors = []
    for tenant in tenants:
        connection.set_tenant(tenant)
        for text in texts:
            try:
                with transaction.atomic():
                    Note.objects.create(text=f"{text} of {tenant.schema_name}")
            except ImproperlyConfigured as error:
                errors.append(str(error))
    connection.set_schema_to_public()
    return errors


def answers(tenants: list[Any]) -> dict[str, list[str]]:
    from tests.tenants.notes.models import Note

    found = {}
    for tenant in tenants:
        connection.set_tenant(tenant)
        notes = Note.objects.order_by("pk")
        found[tenant.schema_name] = [note.answer for note in notes]
    connection.set_schema_to_public()
    return found


def send_under_one_key(tenants: list[Any]) -> int:
    """Send twice for each tenant, of which the row or only the name is known."""
    from signal_tasks import AsyncSignal
    from signal_tasks.models import Delivery

    told = AsyncSignal(name="tenants.told")
    told.connect(lambda sender, **kwargs: None, name="tenants.tell", weak=False)
    for tenant in tenants:
        connection.set_tenant(tenant)
        told.using(dedupe_key="note 1").send(sender=None)
        connection.set_schema(tenant.schema_name)
        told.using(dedupe_key="note 1").send(sender=None)
    connection.set_schema_to_public()
    sent = Delivery.objects.filter(receiver="tenants.tell")
    number = int(sent.count())
    sent.discard()
    return number


def main() -> dict[str, Any]:
    set_up()
    from signal_tasks.models import Attempt, Delivery
    from tests.tenants.notes.receivers import seen

    tenants = make_tenants()
    errors = write_notes(tenants, ["hello", "bye"])
    run_as_a_worker_does()
    told = {
        "checks": [message.id for message in checks.run_checks(tags=["signal_tasks"])],
        "errors": errors,
        "seen": list(seen),
        "answers": answers(tenants),
        "schema": connection.schema_name,
        "under one key": 0 if errors else send_under_one_key(tenants),
    }
    write_notes(tenants, ["late"])
    tenants[0].delete(force_drop=True)
    run_as_a_worker_does()
    return {
        **told,
        "late": [entry for entry in seen if entry[3].startswith("late")],
        "states": sorted(Delivery.objects.values_list("state", "reason").distinct()),
        "parked": sorted(set(Attempt.objects.values_list("error", flat=True))),
    }


if __name__ == "__main__":
    json.dump(main(), sys.stdout)
