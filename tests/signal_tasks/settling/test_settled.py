"""``signal.settled``: sent once, when the last delivery of an event has finished."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.utils import timezone

from signal_tasks import (
    AsyncSignal,
    Coalesce,
    RetryPolicy,
    current_delivery,
    operations,
)
from signal_tasks.models import Delivery, Event, UnsettledEvent
from signal_tasks.settling import settle_all
from signal_tasks.settling.reading import settled_events
from signal_tasks.testing import assert_sent, capture_signals, run_pending
from tests.signal_tasks.conftest import finish, listen
from tests.signal_tasks.operations.steps import run_pass
from tests.signal_tasks.outbox.steps import undone
from tests.signal_tasks.settling.steps import (
    fail,
    hear_settled,
    run,
    settlings,
    waiting,
)
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db(transaction=True)


def test_it_is_sent_when_the_last_receiver_has_finished(signal: AsyncSignal) -> None:
    listen(signal, name="t.first")
    listen(signal, name="t.second")
    calls = hear_settled(signal)
    signal.send(sender=None)
    run("t.first")
    assert settlings(signal) == 0
    run("t.second")
    assert settlings(signal) == 1
    assert not waiting()
    run_pending()
    assert len(calls) == 1


def test_its_receivers_get_what_the_receivers_of_the_event_have_got(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.only")
    calls = hear_settled(signal)
    thing = Thing.objects.create(name="a thing")
    signal.send(sender=Thing, thing=thing, at=timedelta(days=1))
    event = Event.objects.get()
    run_pending()
    (call,) = calls
    assert call == {
        "sender": Thing,
        "thing": thing,
        "at": timedelta(days=1),
        "event_id": event.pk,
        "outcomes": {"t.only": "succeeded"},
    }


def test_outcomes_tell_what_became_of_each_delivery(signal: AsyncSignal) -> None:
    listen(signal, name="t.works")
    listen(signal, name="t.discarded")
    fail(signal, name="t.fails")
    calls = hear_settled(signal)
    signal.send(sender=None)
    Delivery.objects.filter(receiver="t.discarded").discard()
    run_pending()
    assert calls[0]["outcomes"] == {
        "t.discarded": "discarded",
        "t.fails": "dead",
        "t.works": "succeeded",
    }


def test_an_outcome_stands_under_the_present_name_of_its_receiver(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.new_name", aliases=["t.old_name"])
    calls = hear_settled(signal)
    signal.send(sender=None)
    Delivery.objects.update(receiver="t.old_name")
    run_pending()
    assert calls[0]["outcomes"] == {"t.new_name": "succeeded"}


def become_one(signal: AsyncSignal) -> None:
    """Send to two receivers, of which the second takes over the first one's name."""

    def first(sender: object, **kwargs: Any) -> None:
        """Hear of it before only."""

    def second(sender: object, **kwargs: Any) -> None:
        """Hear of it before and after."""

    signal.connect(first, name="t.first", weak=False)
    signal.connect(second, name="t.second", weak=False)
    signal.send(sender=None)
    signal.disconnect(first)
    signal.disconnect(second)
    signal.connect(second, name="t.second", aliases=["t.first"], weak=False)


def test_outcomes_of_two_receivers_that_have_become_one_stand_under_former_names(
    signal: AsyncSignal,
) -> None:
    calls = hear_settled(signal)
    become_one(signal)
    finish(Delivery.objects.filter(receiver="t.first"), "dead")
    finish(Delivery.objects.filter(receiver="t.second"), "succeeded")
    settle_all("default")
    run_pending()
    assert calls[0]["outcomes"] == {"t.first": "dead", "t.second": "succeeded"}


def test_one_of_the_two_that_has_not_finished_keeps_the_event_from_settling(
    signal: AsyncSignal,
) -> None:
    """Also one that is replayed after the look, and before the lock."""
    hear_settled(signal)
    become_one(signal)
    finish(Delivery.objects.filter(receiver="t.second"), "succeeded")
    assert not settled_events([Event.objects.get().pk], "default")


def test_what_is_retried_has_not_finished(signal: AsyncSignal) -> None:
    fail(signal, retry=RetryPolicy(max_attempts=2, backoff=0, jitter=False))
    calls = hear_settled(signal)
    signal.send(sender=None)
    run("t.failing")
    assert Delivery.objects.get().state == "pending"
    assert settlings(signal) == 0
    run_pending()
    run_pending()
    assert [call["outcomes"] for call in calls] == [{"t.failing": "dead"}]


def test_an_event_that_nobody_gets_is_not_settled(signal: AsyncSignal) -> None:
    calls = hear_settled(signal)
    signal.send(sender=None)
    listen(signal, when=lambda sender, **kwargs: False)
    signal.send(sender=None)
    run_pending()
    assert not calls
    assert not waiting()


def test_where_nobody_hears_it_nothing_waits(signal: AsyncSignal) -> None:
    listen(signal)
    assert signal.settled.name
    signal.send(sender=None)
    assert not waiting()


def test_where_nobody_hears_it_any_more_nothing_waits(signal: AsyncSignal) -> None:
    def heard(sender: object, **kwargs: Any) -> None:
        """Hear of nothing: it is disconnected."""

    listen(signal)
    signal.settled.connect(heard, name="t.settled", weak=False)
    assert signal.settled.disconnect(heard)
    signal.send(sender=None)
    assert not waiting()


def test_a_rolled_back_send_leaves_nothing_that_waits(signal: AsyncSignal) -> None:
    listen(signal)
    hear_settled(signal)
    with undone():
        signal.send(sender=None)
        assert len(waiting()) == 1
    assert not waiting()


# -- ways of sending --------------------------------------------------------------


def test_every_way_of_sending_settles(signal: AsyncSignal) -> None:
    listen(signal, name="t.only")
    calls = hear_settled(signal)
    signal.send(sender=None, n=1)
    signal.send_robust(sender=None, n=2)
    async_to_sync(signal.asend)(sender=None, n=3)
    async_to_sync(signal.asend_robust)(sender=None, n=4)
    signal.send_many(sender=None, items=[{"n": 5}, {"n": 6}])
    signal.using(headers={"a": 1}).send(sender=None, n=7)
    signal.using(dedupe_key="k").send(sender=None, n=8)
    signal.using(dedupe_key="k").send(sender=None, n=9)
    run_pending()
    assert sorted(call["n"] for call in calls) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_many_events_of_one_transaction_settle_each(signal: AsyncSignal) -> None:
    listen(signal, name="t.only")
    hear_settled(signal, name="t.settled")
    signal.send_many(sender=None, items=[{"n": n} for n in range(450)])
    assert len(waiting()) == 450
    run("t.only")
    assert settlings(signal) == Delivery.objects.filter(receiver="t.settled").count()
    assert settlings(signal) == 450
    assert not waiting()


@pytest.mark.parametrize("by", ["delay", "at"])
def test_relays_look_at_a_delayed_event_after_it_is_due(
    signal: AsyncSignal, by: str
) -> None:
    listen(signal)
    hear_settled(signal)
    hour = timedelta(hours=1)
    at = timezone.now() + hour
    bound = signal.using(at=at) if by == "at" else signal.using(delay=hour)
    bound.send(sender=None)
    wait = UnsettledEvent.objects.get().check_at - timezone.now()
    assert timedelta(minutes=59) < wait < timedelta(minutes=61)


# -- receivers of settled ---------------------------------------------------------


def test_it_is_sent_as_any_signal_with_options_of_each_receiver(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.only")
    of_things = hear_settled(signal, sender=Thing)
    of_failures = hear_settled(
        signal, when=lambda sender, outcomes, **_: "dead" in outcomes.values()
    )
    signal.send(sender=Thing)
    signal.send(sender=None)
    run_pending()
    assert len(of_things) == 1
    assert not of_failures


def test_an_inline_receiver_runs_in_the_transaction_that_settles(
    signal: AsyncSignal,
) -> None:
    in_transaction = []

    def heard(sender: object, outcomes: dict[str, str], **kwargs: Any) -> None:
        in_transaction.append(transaction.get_connection().in_atomic_block)

    listen(signal, name="t.only")
    signal.settled.connect(heard, weak=False, inline=True)
    signal.send(sender=None)
    run("t.only")
    assert in_transaction == [True]
    assert settlings(signal) == 0
    assert not waiting()


def test_an_ordered_receiver_goes_by_the_key_of_the_signal_then_the_subject() -> None:
    signal = AsyncSignal(name="tests.keyed", key=lambda sender, line=None, **_: line)
    listen(signal, name="t.only")
    calls = hear_settled(signal, ordered=True)
    signal.send(sender=None, line="a")
    signal.using(subject="about.this:1").send(sender=None)
    signal.send(sender=None)
    run_pending()
    assert len(calls) == 3


def test_what_is_sensitive_in_the_event_is_so_in_settled() -> None:
    signal = AsyncSignal(name="tests.sensitive", sensitive=["email"])
    listen(signal, name="t.only")
    hear_settled(signal)
    signal.send(sender=None, email="a@example.org")
    run_pending()
    event = Event.objects.get(signal=signal.settled.name)
    assert '"sensitive":["email"]' in event.payload


def test_keywords_of_the_event_may_have_any_name(signal: AsyncSignal) -> None:
    listen(signal, name="t.only")
    calls = hear_settled(signal)
    signal.send(sender=None, **{"$odd": 1, "event_id": "mine"})
    event = Event.objects.get()
    run_pending()
    assert calls[0]["$odd"] == 1
    assert calls[0]["event_id"] == event.pk


def test_a_row_that_is_gone_is_a_matter_of_the_one_who_needs_it(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.only", on_missing="none")
    calls = hear_settled(signal, name="t.reads", on_missing="none")
    hear_settled(signal, name="t.rejects")
    thing = Thing.objects.create(name="a thing")
    signal.send(sender=None, thing=thing)
    thing.delete()
    run_pending()
    assert [call["thing"] for call in calls] == [None]
    assert Delivery.objects.get(receiver="t.rejects").reason == "missing"


def test_an_event_that_cannot_be_read_settles_too(signal: AsyncSignal) -> None:
    listen(signal, name="t.only")
    hear_settled(signal, name="t.settled")
    signal.send(sender=Thing)
    Event.objects.update(payload='{"v":1,"sender":{"$model":"no.such"},"kwargs":{}}')
    run_pending()
    reasons = dict(Delivery.objects.values_list("receiver", "reason"))
    assert reasons == {"t.only": "undecodable", "t.settled": "undecodable"}


# -- what comes with it -----------------------------------------------------------


class Tenant:
    """Carries a tenant, as a project's own hook does."""

    name = "tenant"
    current: str | None = None

    def capture(self) -> str | None:
        return Tenant.current

    @contextmanager
    def restore(self, value: str) -> Iterator[None]:
        if value == "gone":
            raise LookupError("the tenant is gone")
        Tenant.current = value
        try:
            yield
        finally:
            Tenant.current = None


@pytest.fixture
def tenants(settings: Any) -> type[Tenant]:
    context = [f"{__name__}.Tenant"]
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "CONTEXT": context}
    return Tenant


def test_it_is_heard_in_the_context_of_the_event(
    signal: AsyncSignal, tenants: type[Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def heard(sender: object, **kwargs: Any) -> None:
        seen.append(tenants.current)

    listen(signal, name="t.only")
    signal.settled.connect(heard, name="t.settled", weak=False)
    signal.settled.connect(heard, weak=False, inline=True, dispatch_uid=1)
    monkeypatch.setattr(tenants, "current", "acme")
    signal.send(sender=None)
    tenants.current = None
    run_pending()
    assert seen == ["acme", "acme"]
    assert tenants.current is None


def test_it_is_caused_by_the_event_and_has_its_subject_and_headers(
    signal: AsyncSignal,
) -> None:
    found = []

    def heard(sender: object, **kwargs: Any) -> None:
        found.append(current_delivery())

    listen(signal, name="t.only")
    signal.settled.connect(heard, name="t.settled", weak=False)
    headers = {"correlation_id": "of this request"}
    signal.using(subject="about.this:1", headers=headers).send(sender=None)
    event = Event.objects.get()
    run_pending()
    settled = Event.objects.get(signal=signal.settled.name)
    assert (settled.cause_id, settled.subject) == (event.pk, "about.this:1")
    assert found[0].correlation_id == "of this request"
    assert found[0].headers == headers


def test_without_a_correlation_id_it_has_that_of_the_event(signal: AsyncSignal) -> None:
    listen(signal, name="t.only")
    hear_settled(signal)
    signal.send(sender=None)
    event = Event.objects.get()
    run_pending()
    settled = Event.objects.get(signal=signal.settled.name)
    assert settled.correlation == str(event.pk)


def test_it_counts_as_a_cause_so_that_going_round_ends(
    signal: AsyncSignal, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "MAX_DEPTH": 3}

    def again(sender: object, **kwargs: Any) -> None:
        signal.send(sender=None)

    listen(signal, name="t.only")
    policy = RetryPolicy(max_attempts=1)
    signal.settled.connect(again, name="t.again", weak=False, retry=policy)
    signal.send(sender=None)
    run_pending()
    assert Event.objects.count() <= 4
    assert "SignalLoop" in caplog.text or Delivery.objects.filter(state="dead")


def test_it_is_captured_in_tests_as_any_signal(signal: AsyncSignal) -> None:
    listen(signal, name="t.only")
    hear_settled(signal)
    with capture_signals():
        signal.send(sender=None, n=5)
        run_pending()
        assert_sent(signal.settled, n=5, outcomes={"t.only": "succeeded"})


# -- replay, discard, backfill, prune, coalesce -----------------------------------


def test_after_a_replay_it_is_sent_again(signal: AsyncSignal) -> None:
    listen(signal, name="t.works")
    fail(signal, name="t.fails")
    calls = hear_settled(signal)
    signal.send(sender=None)
    run_pending()
    operations.replay(operations.Selection(receiver="t.fails", state="dead"))
    run_pass(5)
    assert len(waiting()) == 1
    run_pending()
    assert [call["outcomes"]["t.fails"] for call in calls] == ["dead", "dead"]
    assert not waiting()


def test_a_replay_of_what_has_not_settled_makes_it_wait_on(signal: AsyncSignal) -> None:
    listen(signal, name="t.works")
    fail(signal, name="t.fails")
    calls = hear_settled(signal)
    signal.send(sender=None)
    run("t.fails")
    operations.replay(operations.Selection(receiver="t.fails", state="dead"))
    run_pass(5)
    run("t.works")
    assert settlings(signal) == 0
    run_pending()
    assert len(calls) == 1


def test_a_replay_changes_nothing_where_nobody_hears_it(signal: AsyncSignal) -> None:
    fail(signal, name="t.fails")
    signal.send(sender=None)
    run_pending()
    operations.replay(operations.Selection(receiver="t.fails", state="dead"))
    run_pass(5)
    assert not waiting()


def test_what_an_operator_discards_last_settles_at_once(signal: AsyncSignal) -> None:
    listen(signal, name="t.works")
    listen(signal, name="t.unwanted")
    hear_settled(signal)
    signal.send(sender=None)
    run("t.works")
    operations.discard(operations.Selection(receiver="t.unwanted"))
    run_pass(5)
    assert settlings(signal) == 1


def test_a_backfill_does_not_settle_again_but_is_waited_for(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.works")
    calls = hear_settled(signal)
    signal.send(sender=None, n=1)
    run_pending()
    signal.send(sender=None, n=2)
    listen(signal, name="t.new")
    operations.backfill("t.new", since=timedelta(hours=1))
    run_pass(5)
    run("t.works")
    assert settlings(signal) == 1
    run_pending()
    assert [(call["n"], sorted(call["outcomes"])) for call in calls] == [
        (1, ["t.works"]),
        (2, ["t.new", "t.works"]),
    ]


def by_line(sender: object, line: str, **kwargs: Any) -> str:
    return line


def test_an_event_that_is_merged_into_a_newer_one_is_not_settled(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.only", coalesce=Coalesce(key=by_line, within=0.001))
    calls = hear_settled(signal)
    with transaction.atomic():
        for n in range(3):
            signal.send(sender=None, line="a", n=n)
    signal.send_many(sender=None, items=[{"line": "b", "n": n} for n in range(3, 6)])
    assert waiting() == set(Event.objects.values_list("pk", flat=True))
    assert len(waiting()) == 2
    run_pending()
    assert sorted(call["n"] for call in calls) == [2, 5]
    assert not waiting()


def test_of_a_merged_event_that_others_have_got_these_alone_count(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.merged", coalesce=Coalesce(key=by_line, within=0.001))
    listen(signal, name="t.each")
    calls = hear_settled(signal)
    with transaction.atomic():
        for n in range(2):
            signal.send(sender=None, line="a", n=n)
    run_pending()
    assert sorted((call["n"], sorted(call["outcomes"])) for call in calls) == [
        (0, ["t.each"]),
        (1, ["t.each", "t.merged"]),
    ]


def test_an_event_that_loses_its_last_unfinished_delivery_to_a_merge_settles_at_once(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.merged", coalesce=Coalesce(key=by_line, within=60))
    listen(signal, name="t.each")
    hear_settled(signal)
    signal.send(sender=None, line="a", n=0)
    run("t.each")
    assert settlings(signal) == 0
    signal.send(sender=None, line="a", n=1)
    assert settlings(signal) == 1
    assert len(waiting()) == 1


def test_a_merge_that_is_undone_does_not_keep_a_later_one_from_settling(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.merged", coalesce=Coalesce(key=by_line, within=60))
    listen(signal, name="t.each")
    hear_settled(signal)
    signal.send(sender=None, line="a", n=0)
    run("t.each")
    with transaction.atomic():
        with undone():
            signal.send(sender=None, line="a", n=1)
        signal.send(sender=None, line="a", n=2)
        with undone():
            signal.send(sender=None, line="a", n=3)
    assert settlings(signal) == 1
    assert len(waiting()) == 1


def test_so_does_one_whose_delivery_goes_to_an_event_of_another_signal(
    signal: AsyncSignal,
) -> None:
    """A receiver of both merges them; nobody hears that the other one has settled."""
    merged = Coalesce(key=by_line, within=60)
    other = AsyncSignal(name="tests.merging_away")

    def both(sender: object, **kwargs: Any) -> None:
        """Hear of both signals."""

    for each in (signal, other):
        each.connect(both, name="t.both", coalesce=merged, weak=False)
    listen(signal, name="t.each")
    hear_settled(signal)
    signal.send(sender=None, line="a")
    run("t.each")
    other.send(sender=None, line="a")
    assert settlings(signal) == 1
    signal.send(sender=None, line="b")
    Delivery.objects.filter(receiver="t.each", state="pending").delete()
    other.send(sender=None, line="b")
    assert not waiting()


def test_a_context_that_is_gone_is_a_failure_of_that_event_alone(
    signal: AsyncSignal, tenants: type[Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    listen(signal, name="t.only")
    hear_settled(signal)
    for tenant in ("acme", "gone"):
        monkeypatch.setattr(tenants, "current", tenant)
        signal.send(sender=None)
    tenants.current = None
    run_pending()
    assert settlings(signal) == 1
    assert len(waiting()) == 1


# -- without workers --------------------------------------------------------------


def test_in_eager_mode_it_is_sent_within_the_send(
    signal: AsyncSignal, settings: Any
) -> None:
    settings.CELERY_TASK_ALWAYS_EAGER = True
    listen(signal, name="t.first")
    listen(signal, name="t.second")
    calls = hear_settled(signal)
    signal.send(sender=None)
    assert [sorted(call["outcomes"]) for call in calls] == [["t.first", "t.second"]]


@pytest.mark.django_db
def test_inside_of_a_test_that_never_commits_it_is_sent(signal: AsyncSignal) -> None:
    listen(signal, name="t.first")
    listen(signal, name="t.second")
    calls = hear_settled(signal)
    signal.send(sender=None)
    operations.discard(operations.Selection(receiver="t.second"))
    run_pending()
    assert [call["outcomes"] for call in calls] == [
        {"t.first": "succeeded", "t.second": "discarded"}
    ]


def test_a_signal_settles_under_its_former_name_too() -> None:
    name = f"tests.renamed_{uuid.uuid4().hex}"
    old = AsyncSignal(name=name)
    listen(old, name="t.only")
    hear_settled(old, name="t.settled")
    old.send(sender=None)
    for each in (old, old.settled):
        for connection in each.durable_connections:
            each.disconnect(connection.receiver.function())
    del old
    new = AsyncSignal(name=f"{name}_anew", aliases=[name])
    listen(new, name="t.only")
    calls = hear_settled(new, name="t.settled")
    run_pending()
    assert len(calls) == 1
