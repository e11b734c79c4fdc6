"""``signal_tasks.testing``, in Django's own test cases and in pytest."""

from __future__ import annotations

import random
from contextlib import nullcontext
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from celery import current_app
from django.db import connection, transaction
from django.dispatch import Signal
from django.test import TestCase, TransactionTestCase, override_settings
from django.test.testcases import (  # type: ignore[attr-defined]
    DatabaseOperationForbidden,
)

from signal_tasks import AsyncSignal, PayloadError, RetryPolicy, async_receiver
from signal_tasks.broker.config import is_eager
from signal_tasks.models import Delivery
from signal_tasks.testing import Sent, assert_sent, capture_signals, run_pending
from tests.signal_tasks.conftest import listen
from tests.testapp.models import Effect, Thing
from tests.testapp.signals import chained, happened

pytest_plugins = ["pytester"]

EVERY_DATABASE: dict[str, Any] = {"DATABASES": None}


# -- in Django's test cases -------------------------------------------------------


class InATestCaseTests(TestCase):
    """All works in a TestCase, though its transaction never commits."""

    def test_what_was_sent_is_run(self) -> None:
        ((_, atomic), (_, outside)) = happened.send(sender=None, key="k")
        ran = run_pending()
        assert [handle.id for handle in ran] == [atomic.id, outside.id]
        assert {handle.state for handle in ran} == {"succeeded"}
        assert Effect.objects.filter(key="k").count() == 2

    def test_what_was_run_is_not_run_again(self) -> None:
        happened.send(sender=None)
        assert len(run_pending()) == 2
        assert run_pending() == []

    def test_what_receivers_send_is_run_too(self) -> None:
        chained.send(sender=None, key="c")
        assert len(run_pending()) == 3
        assert Effect.objects.filter(key="c").count() == 3

    def test_a_rolled_back_send_is_not_run(self) -> None:
        with transaction.atomic():
            happened.send(sender=None)
            transaction.set_rollback(True)
        assert run_pending() == []

    async def test_an_async_test_sends_and_runs_too(self) -> None:
        await happened.asend(sender=None, key="async")
        ran = await sync_to_async(run_pending)()
        assert len(ran) == 2
        assert await Effect.objects.filter(key="async").acount() == 2

    def test_nothing_is_pending_from_the_test_before(self) -> None:
        assert not Delivery.objects.exists()

    @override_settings(SIGNAL_TASKS=EVERY_DATABASE)
    def test_a_database_that_the_test_may_not_touch_is_passed_over(self) -> None:
        happened.send(sender=None, key="k")
        assert len(run_pending()) == 2
        assert_sent(happened, key="k")

    @override_settings()
    def test_so_it_is_in_a_project_that_sets_nothing(self) -> None:
        from django.conf import settings

        del settings.SIGNAL_TASKS
        happened.send(sender=None, key="k")
        assert len(run_pending()) == 2


@override_settings(SIGNAL_TASKS=EVERY_DATABASE)
class OnTwoDatabasesTests(TestCase):
    """With both databases allowed, the deliveries of both are run."""

    databases = {"default", "other"}

    def test_both_are_run(self) -> None:
        happened.send(sender=None, key="here")
        happened.using(database="other").send(sender=None, key="there")
        assert {handle.database for handle in run_pending()} == self.databases
        assert Effect.objects.using("other").count() == 2
        assert_sent(happened, key="there")


class InATransactionTestCaseTests(TransactionTestCase):
    """``run_pending()`` does the same where commits are real."""

    def test_what_was_sent_is_run(self) -> None:
        with transaction.atomic():
            happened.send(sender=None, key="k")
        assert len(run_pending()) == 2
        assert Effect.objects.filter(key="k").count() == 2


class WithoutDatabasesTests(TestCase):
    """A test that may touch no database gets Django's error."""

    databases = set()

    def test_it_cannot_run_anything(self) -> None:
        with pytest.raises(DatabaseOperationForbidden):
            run_pending()


# -- run_pending ------------------------------------------------------------------


@pytest.mark.django_db
class TestRunPending:
    """``run_pending()`` runs deliveries in the process of the test."""

    def test_what_fails_runs_once_in_a_call_however_soon_it_is_due(
        self, signal: AsyncSignal
    ) -> None:
        calls: list[int] = []

        def fail(sender: object, **kwargs: Any) -> None:
            calls.append(1)
            raise ValueError

        policy = RetryPolicy(max_attempts=2, backoff=0)
        signal.connect(fail, name="t.fail", retry=policy)
        signal.send(sender=None)
        (first,) = run_pending()
        assert (len(calls), first.state, first.attempts) == (1, "pending", 1)
        (second,) = run_pending()
        assert (len(calls), second.state, second.reason) == (2, "dead", "exhausted")

    def test_they_run_in_the_order_in_which_they_were_sent(
        self, signal: AsyncSignal
    ) -> None:
        calls = listen(signal)
        for number in range(20):
            signal.send(sender=None, number=number)
        run_pending()
        assert [call["number"] for call in calls] == list(range(20))

    @pytest.mark.parametrize("shuffle", [7, random.Random(7)])
    def test_or_in_another_that_a_seed_decides(
        self, shuffle: Any, signal: AsyncSignal
    ) -> None:
        calls = listen(signal)
        for number in range(20):
            signal.send(sender=None, number=number)
        ran = run_pending(shuffle=shuffle)
        numbers = [call["number"] for call in calls]
        assert numbers != sorted(numbers)
        assert sorted(numbers) == list(range(20))
        assert len(ran) == 20

    def test_twice_an_atomic_receiver_still_runs_once(
        self, signal: AsyncSignal
    ) -> None:
        calls = listen(signal)
        signal.send(sender=None)
        (handle,) = run_pending(twice=True)
        assert (len(calls), handle.state) == (1, "succeeded")

    def test_twice_a_receiver_outside_of_transactions_runs_twice(
        self, signal: AsyncSignal
    ) -> None:
        calls = listen(signal, atomic=False)
        signal.send(sender=None)
        (handle,) = run_pending(twice=True)
        assert (len(calls), handle.state) == (2, "succeeded")

    def test_receivers_that_send_without_end_are_found_out(
        self, signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("signal_tasks.testing.MAX_ROUNDS", 10)

        def again(sender: object, **kwargs: Any) -> None:
            signal.send(sender=None)

        signal.connect(again, name="t.without_end")
        signal.send(sender=None)
        with pytest.raises(AssertionError, match="10 rounds"):
            run_pending()

    def test_an_error_of_a_receiver_does_not_reach_the_test(
        self, signal: AsyncSignal
    ) -> None:
        def fail(sender: object, **kwargs: Any) -> None:
            raise ValueError

        signal.connect(fail, name="t.silent")
        signal.send(sender=None)
        (handle,) = run_pending()
        assert handle.state == "pending"


# -- capture_signals and assert_sent ----------------------------------------------


@pytest.mark.django_db
class TestCapturing:
    """Sends are captured, with and without receivers."""

    def test_every_send_is_captured(self, signal: AsyncSignal) -> None:
        thing = Thing(name="unsaved")
        with capture_signals() as sent:
            signal.send(sender=Thing, thing=thing)
            signal.send_robust(sender=None)
            signal.send_many(sender=None, items=[{"n": 1}, {"n": 2}])
            signal.using(delay=5).send(sender=None)
        signal.send(sender=None, late=True)
        assert sent[0] == Sent(signal=signal, sender=Thing, kwargs={"thing": thing})
        kwargs = [each.kwargs for each in sent[1:]]
        assert kwargs == [{}, {"n": 1}, {"n": 2}, {}]

    def test_sending_goes_on_as_usual(self, signal: AsyncSignal) -> None:
        calls = listen(signal)
        with capture_signals():
            signal.send(sender=None)
        run_pending()
        assert len(calls) == 1

    def test_a_refused_send_was_none(self, signal: AsyncSignal) -> None:
        listen(signal)
        with capture_signals() as sent, pytest.raises(PayloadError):
            signal.send(sender=None, value=object())
        assert sent == []

    def test_blocks_may_be_nested(self, signal: AsyncSignal) -> None:
        with capture_signals() as outer:
            with capture_signals() as inner:
                pass
            signal.send(sender=None)
        assert len(outer) == 1
        assert inner == []

    def test_a_send_is_asserted_by_some_of_its_keywords(
        self, signal: AsyncSignal
    ) -> None:
        with capture_signals():
            signal.send(sender=None, a=1, b=2)
            signal.send(sender="s", a=2, b=2)
            assert assert_sent(signal, a=2).sender == "s"
            assert assert_sent(signal).kwargs == {"a": 1, "b": 2}

    def test_what_was_not_sent_is_told_with_what_was(self, signal: AsyncSignal) -> None:
        with capture_signals():
            signal.send(sender=None, a=1)
            with pytest.raises(AssertionError, match=r"(?s)'a': 3.*'a': 1"):
                assert_sent(signal, a=3)
            with pytest.raises(AssertionError, match="not sent"):
                assert_sent(signal, missing=1)
            with pytest.raises(AssertionError, match="not at all"):
                assert_sent(happened)

    def test_outside_of_a_block_the_database_is_asked(
        self, signal: AsyncSignal
    ) -> None:
        listen(signal)
        thing = Thing.objects.create(name="one")
        signal.send(sender=None, thing=thing, a=1)
        assert assert_sent(signal, thing=thing).kwargs["a"] == 1
        with pytest.raises(AssertionError):
            assert_sent(signal, a=2)

    def test_a_forwarded_signal_is_captured_too(self) -> None:
        from django.db.models.signals import post_save

        def hear(sender: object, **kwargs: Any) -> None: ...

        async_receiver(post_save, Thing, name="t.captured")(hear)
        with capture_signals() as sent:
            thing = Thing.objects.create(name="one")
        post_save.disconnect(sender=Thing, dispatch_uid="t.captured")
        assert [each.kwargs["instance"] for each in sent] == [thing]

    @pytest.mark.parametrize("where", ["a block", "the database"])
    def test_a_signal_that_is_not_ours_is_asserted_by_its_durable_receivers(
        self, where: str
    ) -> None:
        from django.db.models.signals import post_save

        def hear(sender: object, **kwargs: Any) -> None: ...

        async_receiver(post_save, Thing, name="t.asserted")(hear)
        with capture_signals() if where == "a block" else nullcontext():
            thing = Thing.objects.create(name="one")
            assert assert_sent(post_save, instance=thing).sender is Thing
            with pytest.raises(AssertionError, match=r"post_save was not sent"):
                assert_sent(post_save, created=False)
        post_save.disconnect(hear, sender=Thing)

    @pytest.mark.parametrize("signal", [Signal(), "no signal"])
    def test_one_that_cannot_be_seen_is_an_error(self, signal: Any) -> None:
        with pytest.raises(TypeError, match="no durable receivers"):
            assert_sent(signal)


# -- pytest -----------------------------------------------------------------------


def test_pytest_has_fixtures_of_ours(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    monkeypatch.setenv("TEST_DATABASE", "sqlite")  # and in a folder of its own
    monkeypatch.delenv("TEST_FOLDER", raising=False)
    pytester.makepyfile(
        """
        from tests.testapp.models import Effect
        from tests.testapp.signals import happened

        def test_running(run_pending):
            happened.send(sender=None, key="k")
            assert len(run_pending()) == 2
            assert Effect.objects.filter(key="k").count() == 2

        def test_capturing(captured_signals, db):
            happened.send(sender=None, key="k")
            assert captured_signals[0].kwargs == {"key": "k"}
        """
    )
    options = ["--ds", "tests.signal_tasks.settings", "-p", "no:randomly", "-q"]
    if not entry_points(group="pytest11", name="signal_tasks"):
        options += ["-p", "signal_tasks.pytest_plugin"]  # as if it were installed
    result = pytester.runpytest_subprocess(*options)
    result.assert_outcomes(passed=2)


# -- CELERY_TASK_ALWAYS_EAGER -----------------------------------------------------


@pytest.mark.django_db(transaction=True)
class TestEager:
    """Celery is set to run tasks in the sender's process."""

    @pytest.fixture(autouse=True)
    def _eager(self, settings: Any) -> None:
        settings.CELERY_TASK_ALWAYS_EAGER = True

    def test_receivers_run_after_the_commit(self) -> None:
        with transaction.atomic():
            happened.send(sender=None, key="k")
            assert not Effect.objects.exists()
        assert Effect.objects.filter(key="k").count() == 2
        assert set(Delivery.objects.values_list("state", flat=True)) == {"succeeded"}

    def test_a_rollback_runs_nothing(self) -> None:
        with transaction.atomic():
            happened.send(sender=None)
            transaction.set_rollback(True)
        assert not Effect.objects.exists()

    def test_it_can_be_turned_off_and_on(
        self, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert is_eager()
        settings.CELERY_TASK_ALWAYS_EAGER = False
        assert not is_eager()
        monkeypatch.setitem(current_app.conf.changes, "task_always_eager", True)
        assert is_eager()
        monkeypatch.delitem(current_app.conf.changes, "task_always_eager")
        assert not is_eager()

    def test_outside_of_a_transaction_they_run_at_once(self) -> None:
        happened.send(sender=None, key="k")
        assert Effect.objects.filter(key="k").count() == 2

    def test_what_receivers_send_runs_too(self) -> None:
        chained.send(sender=None, key="c")
        assert Effect.objects.filter(key="c").count() == 3

    @pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1)])
    @pytest.mark.parametrize("max_attempts", [1, 5])
    def test_a_failure_is_recorded_and_harms_the_sender_not(
        self, max_attempts: int, error: BaseException, signal: AsyncSignal
    ) -> None:
        def fail(sender: object, **kwargs: Any) -> None:
            raise error

        policy = RetryPolicy(max_attempts=max_attempts)
        signal.connect(fail, name="t.eager_failure", retry=policy)
        ((_, handle),) = signal.send(sender=None)
        expected = "dead" if max_attempts == 1 else "pending"
        assert handle.refresh().state == expected

    def test_many_run_too(self, signal: AsyncSignal) -> None:
        calls = listen(signal)
        signal.send_many(sender=None, items=[{"n": n} for n in range(250)])
        assert [call["n"] for call in calls] == list(range(250))


@override_settings(CELERY_TASK_ALWAYS_EAGER=True)
class EagerTests(TestCase):
    """In a TestCase nothing commits unless the test asks for it."""

    def test_receivers_run_when_commit_hooks_do(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            happened.send(sender=None, key="k")
            assert not Effect.objects.exists()
        assert Effect.objects.filter(key="k").count() == 2
        assert connection.in_atomic_block

    def test_otherwise_run_pending_runs_them(self) -> None:
        happened.send(sender=None, key="k")
        assert not Effect.objects.exists()
        run_pending()
        assert Effect.objects.filter(key="k").count() == 2
