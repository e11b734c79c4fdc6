"""Failure groups as operators see them: listed, annotated, and pruned at last."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from signal_tasks import AsyncSignal, RetryPolicy, operations
from signal_tasks.models import Attempt, AuditEntry, Delivery, FailureGroup
from signal_tasks.operations import groups
from signal_tasks.relay.pruning import prune
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.delivery.steps import connect

pytestmark = pytest.mark.django_db


def fail_as_told(sender: object, error: str, **kwargs: Any) -> None:
    raise ValueError(error)


@pytest.fixture(autouse=True)
def _failing(signal: AsyncSignal) -> None:
    connect(signal, fail_as_told, name="t.grouped", retry=RetryPolicy(max_attempts=1))


def die(signal: AsyncSignal, *errors: str, database: str | None = None) -> None:
    items = [{"error": error} for error in errors]
    signal.using(database=database).send_many(sender=None, items=items)
    run_pending()


def dead() -> list[tuple[str, int]]:
    return [(each.sample, each.dead) for each in operations.failure_groups()]


# -- listed -----------------------------------------------------------------------------


def test_the_group_with_the_most_dead_letters_comes_first(signal: AsyncSignal) -> None:
    die(signal, "no answer", "bad address", "no such row", "bad address")
    die(signal, "no such row", "bad address")
    assert dead() == [("bad address", 3), ("no such row", 2), ("no answer", 1)]


def test_a_group_tells_all_about_itself(signal: AsyncSignal) -> None:
    die(signal, "order 5 is gone", "order 6 is gone")
    (group,) = operations.failure_groups()
    row = FailureGroup.objects.get()
    assert group.fingerprint == row.fingerprint
    assert (group.receiver, group.error_type) == ("t.grouped", "ValueError")
    assert group.location == f"{__name__}.fail_as_told"
    assert (group.failures, group.dead, group.dead_is_capped) == (2, 2, False)
    assert (group.first_seen, group.last_seen) == (row.first_seen_at, row.last_seen_at)
    assert group.note == ""


def test_what_is_replayed_is_not_dead_but_has_failed(signal: AsyncSignal) -> None:
    die(signal, "no answer", "no answer")
    Delivery.objects.filter(pk=Delivery.objects.values("pk")[:1].get()["pk"]).replay()
    (group,) = operations.failure_groups()
    assert (group.failures, group.dead) == (2, 1)
    run_pending()
    (group,) = operations.failure_groups()
    assert (group.failures, group.dead) == (3, 2)


def test_a_group_is_found_by_a_selection(signal: AsyncSignal) -> None:
    die(signal, "no answer", "bad address", "bad address")
    worst, other = operations.failure_groups()
    for group in (worst, other):
        selection = operations.Selection(fingerprint=group.fingerprint)
        assert selection.count() == group.dead


def test_only_groups_with_dead_letters_cost_a_statement_more(
    signal: AsyncSignal,
) -> None:
    die(signal, *["no answer"] * 20, "bad address", "no such row")
    Attempt.objects.filter(error="no such row").update(consequence="retried")
    with CaptureQueriesContext(connection) as queries:
        operations.failure_groups()
    assert len(queries) == 1 + 2


def test_dead_letters_are_counted_up_to_a_limit_which_is_told(
    signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "MAX_COUNTED", 2)
    die(signal, "exact", "exact", "many", "many", "many")
    found = {each.sample: each for each in operations.failure_groups()}
    assert (found["exact"].dead, found["exact"].dead_is_capped) == (2, False)
    assert (found["many"].dead, found["many"].dead_is_capped) == (2, True)


def test_the_groups_of_one_receiver_are_found(signal: AsyncSignal) -> None:
    die(signal, "no answer")
    assert len(operations.failure_groups(receiver="t.grouped")) == 1
    listen(signal, name="t.another")
    assert operations.failure_groups(receiver="t.another") == []


def test_a_receiver_that_nobody_knows_has_no_groups(signal: AsyncSignal) -> None:
    die(signal, "no answer")
    assert operations.failure_groups(receiver="t.groped") == []


@pytest.mark.django_db(databases=["default", "other"])
def test_a_group_is_one_whatever_the_number_of_outboxes(
    signal: AsyncSignal, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {"DATABASES": ["default", "other"]}
    die(signal, "no answer", "bad address", database="default")
    die(signal, "no answer", database="other")
    both, single = operations.failure_groups()
    assert (both.sample, both.failures, both.dead) == ("no answer", 2, 2)
    assert both.first_seen < both.last_seen
    assert (single.sample, single.dead) == ("bad address", 1)
    (other,) = operations.failure_groups(database="other")
    assert other.dead == 1
    operations.annotate(both.fingerprint, "known")
    assert operations.failure_groups()[0].note == "known"


def test_a_database_without_an_outbox_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="nowhere"):
        operations.failure_groups(database="nowhere")


# -- annotated ----------------------------------------------------------------------------


def test_a_note_is_kept_and_its_author_recorded(signal: AsyncSignal) -> None:
    die(signal, "no answer")
    (group,) = operations.failure_groups()
    operations.annotate(group.fingerprint, "the mail server moves", by="ada")
    die(signal, "no answer")
    (group,) = operations.failure_groups()
    assert (group.note, group.dead) == ("the mail server moves", 2)
    (entry,) = operations.log()
    assert (entry.verb, entry.by) == ("annotate", "ada")
    assert group.fingerprint in entry.target
    assert entry.reason == "the mail server moves"


def test_a_note_can_be_taken_away(signal: AsyncSignal) -> None:
    die(signal, "no answer")
    (group,) = operations.failure_groups()
    operations.annotate(group.fingerprint, "known")
    operations.annotate(group.fingerprint, "")
    assert operations.failure_groups()[0].note == ""
    assert AuditEntry.objects.count() == 2


def test_a_note_on_no_group_is_refused() -> None:
    with pytest.raises(LookupError, match="no failure group '0123'"):
        operations.annotate("0123", "x")
    assert not AuditEntry.objects.exists()


def test_a_note_that_cannot_be_stored_is_refused(signal: AsyncSignal) -> None:
    die(signal, "no answer")
    (group,) = operations.failure_groups()
    with pytest.raises(ValueError, match="NUL"):
        operations.annotate(group.fingerprint, "a\0b")


# -- pruned -------------------------------------------------------------------------------


def age(days: float) -> None:
    ago = timedelta(days=days)
    FailureGroup.objects.update(last_seen_at=F("last_seen_at") - ago)


def test_a_group_outlives_its_last_attempt_by_some_months(signal: AsyncSignal) -> None:
    die(signal, "no answer")
    Attempt.objects.all().delete()
    age(89)
    prune("default")
    assert FailureGroup.objects.exists()
    age(2)
    prune("default")
    assert not FailureGroup.objects.exists()


def test_a_group_with_attempts_or_a_note_is_kept(signal: AsyncSignal) -> None:
    die(signal, "has attempts", "has a note", "has neither")
    noted = FailureGroup.objects.get(sample="has a note")
    operations.annotate(noted.fingerprint, "known")
    kept = FailureGroup.objects.get(sample="has attempts")
    Attempt.objects.exclude(fingerprint=kept.fingerprint).delete()
    age(1000)
    prune("default")
    found = set(FailureGroup.objects.values_list("sample", flat=True))
    assert found == {"has attempts", "has a note"}
