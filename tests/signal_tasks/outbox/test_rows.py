"""The database refuses rows that break the promises."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from signal_tasks import AsyncSignal
from signal_tasks.models import Delivery
from tests.signal_tasks.conftest import listen

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_receiver_has_at_most_one_delivery_of_an_event(signal: AsyncSignal) -> None:
    listen(signal)
    signal.send(sender=None)
    row = Delivery.objects.get()
    row.pk = None
    with pytest.raises(IntegrityError), transaction.atomic():
        Delivery.objects.create(
            event=row.event, receiver=row.receiver, next_check_at=row.next_check_at
        )


@pytest.mark.parametrize(
    "change",
    [
        {"state": "succeeded"},  # but still watched by the relay
        {"finished_at": Now()},  # finished, but still watched by the relay
        {"next_check_at": None, "finished_at": Now()},  # finished, but pending
        {"next_check_at": None},  # not finished, and no relay looks at it
    ],
)
def test_the_database_refuses_a_delivery_that_nobody_would_look_after(
    change: dict[str, Any], signal: AsyncSignal
) -> None:
    listen(signal)
    signal.send(sender=None)
    with pytest.raises(IntegrityError), transaction.atomic():
        Delivery.objects.update(**change)
