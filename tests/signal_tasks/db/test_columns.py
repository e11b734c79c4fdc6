"""The columns of texts are what the models say, and compare names as Python does."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.db import connection, models

from signal_tasks import AsyncSignal, operations
from signal_tasks.delivery.message import process_message
from signal_tasks.models import Delivery, Event
from signal_tasks.operations import Selection
from tests.signal_tasks.conftest import listen

pytestmark = pytest.mark.django_db

#: Texts that MariaDB and MySQL take for the same, under their default collation.
ALIKE = [
    ("order:a1", "order:A1"),
    ("order:e", "order:\N{LATIN SMALL LETTER E WITH ACUTE}"),
]


@pytest.mark.skipif(connection.vendor == "sqlite", reason="it knows no lengths")
@pytest.mark.parametrize(
    "model", list(apps.get_app_config("signal_tasks").get_models())
)
def test_each_text_is_as_long_and_as_empty_as_its_field_says(
    model: type[models.Model],
) -> None:
    with connection.cursor() as cursor:
        table = model._meta.db_table
        described = connection.introspection.get_table_description(cursor, table)
    columns = {each.name: (each.display_size, each.null_ok) for each in described}
    texts = [f for f in model._meta.concrete_fields if isinstance(f, models.CharField)]
    assert {f.column: columns[f.column] for f in texts} == {
        f.column: (f.max_length, f.null) for f in texts
    }


def test_an_event_has_no_subject_unless_it_is_given_one(signal: AsyncSignal) -> None:
    columns = "id, signal, payload, headers, sent_at"
    columns = columns.replace("signal", connection.ops.quote_name("signal"))
    listen(signal)
    signal.send(sender=None)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO signal_tasks_event ({columns}) "
            f"SELECT {columns.replace('id', '%s', 1)} FROM signal_tasks_event",
            ["0" * 32],
        )
    assert list(Event.objects.values_list("subject", flat=True)) == ["", ""]


@pytest.mark.parametrize("pair", ALIKE)
def test_what_is_about_another_object_is_not_discarded(
    pair: tuple[str, str], signal: AsyncSignal
) -> None:
    listen(signal)
    for subject in pair:
        signal.using(subject=subject).send(sender=None)
    assert Selection(subject=pair[0]).count() == 1


@pytest.mark.parametrize("pair", ALIKE)
def test_events_of_another_correlation_id_are_not_found(
    pair: tuple[str, str], signal: AsyncSignal
) -> None:
    listen(signal)
    for correlation in pair:
        headers = {"correlation_id": correlation}
        signal.using(headers=headers).send(sender=None)
    assert Event.objects.filter(correlation=pair[0]).count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", ["receiver", "signal"])
def test_what_has_the_longest_name_can_be_paused_held_and_resumed(kind: str) -> None:
    name = "t." + "n" * 253
    signal = AsyncSignal(name=name)
    listen(signal, name=name)
    signal.send(sender=None)
    target = operations.pause(f"{kind}:{name}")
    ids = [str(pk) for pk in Delivery.objects.values_list("pk", flat=True)]
    assert process_message(name, ids, "default").held == 1
    operations.resume(target)
    assert operations.controls() == []
