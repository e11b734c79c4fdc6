"""A selection: which deliveries it means, in rows, in numbers and in words."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from signal_tasks import AsyncSignal, operations
from signal_tasks.models import Delivery, Event
from signal_tasks.operations import Selection
from tests.signal_tasks.conftest import finish, listen
from tests.signal_tasks.operations.steps import connect, dead, fail

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def found(**given: Any) -> set[uuid.UUID]:
    return set(Selection(**given).rows("default").values_list("pk", flat=True))


@pytest.mark.parametrize("nothing", [[], set(), frozenset(), None, "abc"])
def test_ids_that_mean_nothing_are_refused(nothing: Any) -> None:
    with pytest.raises(ValueError, match="ids is"):
        Selection(ids=nothing)


@pytest.mark.parametrize(
    "name", ["receiver", "signal", "error", "subject", "fingerprint", "state", "reason"]
)
def test_an_empty_text_is_refused_since_nothing_was_meant(name: str) -> None:
    empty: dict[str, Any] = {name: ""}
    with pytest.raises(ValueError, match=name):
        Selection(**empty)


def test_a_misspelt_state_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(ValueError, match="did you mean 'dead'"):
        Selection(state="deed")
    with pytest.raises(ValueError, match="did you mean 'exhausted'"):
        Selection(reason="exausted")


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Selection(since=datetime(2026, 1, 1))  # noqa: DTZ001


def test_it_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Selection(state="dead").state = "pending"  # type: ignore[misc]


def test_what_is_given_restricts_and_no_ids_are_not_given() -> None:
    assert Selection().is_empty
    assert Selection(ids=()).is_empty
    assert not Selection(state="dead").is_empty
    assert not Selection(ids=[uuid.uuid4()]).is_empty


def test_ids_may_be_texts_in_any_order() -> None:
    one, two = sorted([uuid.uuid4(), uuid.uuid4()])
    texts: Any = [str(two), str(one)]
    assert Selection(ids=texts) == Selection(ids=(one, two, one))


def test_everything_that_is_given_has_to_match(signal: AsyncSignal) -> None:
    machine = connect(signal)
    listen(signal)
    ids = dead(signal)
    rows = Delivery.objects.filter(receiver=machine.name)
    (mine,) = rows.values_list("pk", flat=True)
    assert found(receiver=machine.name) == {mine}
    assert found(signal=signal.name) == set(ids)
    assert found(signal=signal.name, receiver=machine.name, state="dead") == {mine}
    assert found(receiver=machine.name, state="pending") == set()
    assert found(ids=ids, receiver=machine.name) == {mine}
    assert found(reason="exhausted") == set(ids)


def test_a_subject_selects_what_is_about_it(signal: AsyncSignal) -> None:
    connect(signal)
    one, _ = dead(signal, 2)
    Event.objects.filter(deliveries=one).update(subject="shop.order:5")
    assert found(subject="shop.order:5") == {one}
    assert found(subject="shop.order:6") == set()


def test_an_error_is_that_of_the_last_failure(signal: AsyncSignal) -> None:
    connect(signal)
    smtp, key = dead(signal, 2)
    fail(smtp, "KeyError", "price")
    fail(smtp, "SMTPException", "mailbox is full")
    fail(key, "KeyError", "price")
    assert found(error="KeyError") == {key}
    assert found(error="price") == {key}
    assert found(error="MAILBOX") == {smtp}
    assert found(error="smtpexc") == {smtp}


def test_a_fingerprint_selects_a_failure_group(signal: AsyncSignal) -> None:
    connect(signal)
    one, two = dead(signal, 2)
    fail(one, "KeyError", "price", "a" * 16)
    fail(two, "KeyError", "price", "b" * 16)
    assert found(fingerprint="a" * 16) == {one}


def test_times_are_of_the_finish_or_else_of_the_send(signal: AsyncSignal) -> None:
    connect(signal)
    old, new = dead(signal, 2)
    Delivery.objects.filter(pk=old).update(finished_at=F("finished_at") - 5 * HOUR)
    signal.send(sender=None)
    (pending,) = Delivery.objects.filter(state="pending").values_list("pk", flat=True)
    Event.objects.filter(deliveries=pending).update(sent_at=F("sent_at") - 3 * HOUR)
    assert found(since=HOUR) == {new}
    assert found(since=4 * HOUR) == {new, pending}
    assert found(until=HOUR) == {old, pending}
    assert found(since=timezone.now() - 4 * HOUR, until=HOUR) == {pending}


def test_a_span_has_its_first_moment_and_not_its_last(signal: AsyncSignal) -> None:
    connect(signal)
    finished, later = dead(signal, 2)
    Delivery.objects.filter(pk=later).update(finished_at=F("finished_at") + HOUR)
    moment, end = Delivery.objects.order_by("finished_at").values_list(
        "finished_at", flat=True
    )
    assert found(since=moment, until=end) == {finished}
    assert found(since=end) == {later}
    assert found(until=moment) == set()


def test_a_span_of_sends_has_its_first_moment_and_not_its_last(
    signal: AsyncSignal,
) -> None:
    connect(signal)
    signal.send(sender=None)
    pending = Delivery.objects.get()
    moment = Event.objects.get().sent_at
    assert found(since=moment) == {pending.pk}
    assert found(until=moment) == set()


def test_deliveries_are_counted_up_to_a_cap(signal: AsyncSignal) -> None:
    connect(signal)
    dead(signal, 5)
    selection = Selection(signal=signal.name)
    assert selection.count() == 5
    assert selection.count(cap=5) == 5
    assert selection.count(cap=4) == 5  # more than 4
    assert selection.count(cap=2) == 3  # more than 2


def test_only_what_a_verb_would_change_is_counted(signal: AsyncSignal) -> None:
    connect(signal)
    gone, *_ = dead(signal, 3)
    Delivery.objects.filter(pk=gone).update(state="discarded")
    signal.send(sender=None)
    selection = Selection(signal=signal.name)
    assert selection.count() == 4
    assert selection.count(verb="replay") == 2
    assert selection.count(verb="discard") == 3


def test_what_was_discarded_is_replayable_by_ids_or_by_its_state(
    signal: AsyncSignal,
) -> None:
    connect(signal)
    signal.send(sender=None)
    finish(Delivery.objects, "discarded")
    (pk,) = Delivery.objects.values_list("pk", flat=True)
    assert Selection(signal=signal.name).count(verb="replay") == 0
    assert Selection(ids=[pk]).count(verb="replay") == 1
    assert Selection(state="discarded").count(verb="replay") == 1


def test_it_comes_back_from_json_as_it_was() -> None:
    given = Selection(
        ids=[uuid.uuid4(), uuid.uuid4()],
        receiver="a.b",
        state="dead",
        since=timezone.now(),
        until=HOUR,
        error="ä 'quoted'",
    )
    assert Selection.from_json(given.to_json()) == given
    assert Selection.from_json(Selection().to_json()) == Selection()


def test_a_time_so_long_ago_becomes_a_moment_when_it_is_fixed() -> None:
    fixed = Selection(since=HOUR).fixed().since
    assert isinstance(fixed, datetime)
    assert abs(timezone.now() - HOUR - fixed) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "all deliveries"),
        ({"state": "dead"}, "dead deliveries"),
        (
            {"receiver": "a.b", "signal": "c.d", "reason": "exhausted"},
            "deliveries to the receiver a.b of the signal c.d that are dead as exhausted",
        ),
        (
            {"subject": "shop.order:5", "error": "KeyError"},
            "deliveries about shop.order:5 whose last failure contains KeyError",
        ),
        ({"ids": [uuid.UUID(int=1), uuid.UUID(int=2)]}, "deliveries with 2 given ids"),
        ({"ids": [uuid.UUID(int=1)]}, f"delivery {uuid.UUID(int=1)}"),
        (
            {"since": timedelta(hours=2)},
            "deliveries that finished, or else were sent, at or after 7200 seconds ago",
        ),
    ],
)
def test_it_is_told_in_words(given: dict[str, Any], words: str) -> None:
    assert Selection(**given).words() == words


@pytest.mark.parametrize("verb", [operations.replay, operations.discard])
def test_what_is_no_selection_is_refused(verb: Any) -> None:
    with pytest.raises(TypeError, match="selection is '5'; give a Selection"):
        verb("5")


@pytest.mark.parametrize("verb", [operations.replay, operations.discard])
def test_a_selection_that_restricts_nothing_is_refused(
    verb: Any, signal: AsyncSignal
) -> None:
    connect(signal)
    dead(signal)
    with pytest.raises(ValueError, match="restricts nothing"):
        verb(Selection())
    assert verb(Selection(), everything=True, dry_run=True).total == 1
