"""Events that real workers deliver."""

from __future__ import annotations

from django.db import transaction

from signal_tasks.models import Delivery
from tests.integration.conftest import StartWorker, all_ended, eventually, states
from tests.testapp.models import Effect
from tests.testapp.signals import happened


def effects(what: str) -> list[str]:
    return sorted(Effect.objects.filter(what=what).values_list("key", flat=True))


def test_each_receiver_runs_once_in_a_worker(start_worker: StartWorker) -> None:
    start_worker()
    with transaction.atomic():
        for number in range(20):
            happened.send(sender=None, key=number)
    eventually(all_ended)
    keys = sorted(str(number) for number in range(20))
    assert effects("atomic") == keys
    assert effects("outside") == keys
    assert set(states()) == {"succeeded"}
    assert Delivery.objects.filter(attempts=1).count() == 40
