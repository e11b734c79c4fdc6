"""Real workers: what is coalesced runs now and then, and what goes round ends."""

from __future__ import annotations

import time
from threading import Thread

from django.db import connection, transaction

from signal_tasks.models import Attempt, Delivery, Event
from tests.integration.conftest import StartWorker
from tests.integration.workers import (
    CeleryWorker,
    all_finished,
    effects,
    eventually,
    runs,
    runs_of,
)
from tests.testapp.models import Draft
from tests.testapp.signals import typed


def storm(draft: Draft, saves: int, seconds: float, texts: str) -> None:
    """Save a row over and over, evenly spread over the time."""
    started = time.monotonic()
    for number in range(saves):
        Draft(pk=draft.pk, text=f"{texts}{number}").save()
        time.sleep(max(0, started + seconds * number / saves - time.monotonic()))


def test_a_storm_of_post_save_is_a_handful_of_runs_and_the_last_sees_the_newest(
    worker: CeleryWorker, start_worker: StartWorker
) -> None:
    start_worker()
    draft = Draft.objects.create(text="new")

    def save_elsewhere() -> None:
        storm(draft, 150, 6.0, "other-")
        connection.close()

    other = Thread(target=save_elsewhere)
    other.start()
    storm(draft, 150, 6.0, "mine-")
    other.join()
    draft.text = "newest"
    draft.save()
    eventually(all_finished)
    last = max(runs("indexed"), key=lambda run: run.at)
    assert last.key == "newest"
    assert 2 <= len(runs("indexed")) <= 10
    merged = sum(Delivery.objects.values_list("merged", flat=True))
    assert merged + Delivery.objects.count() == 302
    assert Event.objects.count() == Delivery.objects.count()


def test_a_steady_storm_does_not_starve_the_run(worker: CeleryWorker) -> None:
    """Saved more often than ``within``, it runs after ``max_wait`` all the same."""
    draft = Draft.objects.create(text="new")
    started = time.time()
    storm(draft, 80, 8.0, "")
    stopped = time.time()
    during = [run.at - started for run in runs("indexed") if run.at < stopped]
    assert during
    assert min(during) > 2.5


def test_a_run_under_way_is_not_disturbed_and_the_next_send_starts_a_new_one(
    worker: CeleryWorker,
) -> None:
    typed.send(sender=None, key="k", n=1)
    ((_, first),) = typed.send(sender=None, key="k", n=2, seconds=1.5)
    eventually(lambda: runs_of("k.2"))
    for n in (3, 4, 5):
        ((_, second),) = typed.send(sender=None, key="k", n=n)
    assert first.refresh().state == "running"
    assert second.id != first.id
    eventually(all_finished)
    assert effects("newest") == ["k.2", "k.5"]
    assert (first.refresh().merged, second.refresh().merged) == (1, 2)
    assert first.attempts == second.attempts == 1


def test_what_was_rolled_back_is_in_no_run(worker: CeleryWorker) -> None:
    typed.send(sender=None, key="k", n=1)
    for n in (2, 3):
        with transaction.atomic():
            typed.send(sender=None, key="k", n=n)
            transaction.set_rollback(True)
    eventually(all_finished)
    assert effects("newest") == ["k.1"]
    assert Delivery.objects.get().merged == 0


def test_a_receiver_that_saves_its_own_instance_is_dead_at_once_and_undone(
    worker: CeleryWorker,
) -> None:
    draft = Draft.objects.create(text="loop")
    eventually(all_finished)
    assert runs_of(draft.pk, "saved again") == 1
    assert effects("saved again") == []
    assert effects("indexed") == ["loop"]
    dead = Delivery.objects.get(state="dead")
    assert (dead.reason, dead.attempts) == ("rejected", 1)
    assert "save_again would be called for" in Attempt.objects.get().error
