"""``async_receiver`` of the signals of models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.state import ModelState, ProjectState
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.test.utils import CaptureQueriesContext

from signal_tasks import PayloadError, async_receiver, current_delivery
from signal_tasks.models import Delivery, Event
from signal_tasks.registry.registry import registry
from signal_tasks.testing import run_pending
from tests.signal_tasks.dispatch.conftest import Forward
from tests.signal_tasks.outbox.steps import OneAliasRouter
from tests.testapp.models import Effect, Thing

pytestmark = pytest.mark.django_db


def test_saving_a_row_is_heard_in_the_worker(forward: Forward) -> None:
    calls = forward(post_save, Thing)
    thing = Thing.objects.create(name="one")
    assert calls == []
    run_pending()
    (call,) = calls
    assert call["signal"] is post_save
    assert (call["sender"], call["instance"], call["created"]) == (Thing, thing, True)
    assert (call["raw"], call["using"], call["update_fields"]) == (
        False,
        "default",
        None,
    )


def test_the_instance_is_read_again_as_it_is_then(forward: Forward) -> None:
    calls = forward(post_save, Thing)
    thing = Thing.objects.create(name="at first")
    Thing.objects.filter(pk=thing.pk).update(name="later")
    run_pending()
    assert calls[0]["instance"].name == "later"


def test_it_may_travel_as_it_was(forward: Forward) -> None:
    calls = forward(post_save, Thing, snapshot=True)
    thing = Thing.objects.create(name="at first")
    thing.delete()
    run_pending()
    assert calls[0]["instance"].name == "at first"


def test_only_the_sender_is_heard(forward: Forward) -> None:
    forward(post_save, Thing)
    Effect.objects.create(what="not a thing")
    assert not Event.objects.exists()


def test_a_sender_may_be_named_as_django_allows(forward: Forward) -> None:
    calls = forward(post_save, "testapp.Thing")
    Thing.objects.create(name="one")
    run_pending()
    assert len(calls) == 1


def test_without_a_sender_all_rows_are_heard_but_those_of_the_outbox(
    forward: Forward,
) -> None:
    calls = forward(post_save)
    Thing.objects.create(name="one")
    ran = run_pending()
    assert [call["sender"] for call in calls] == [Thing]
    assert len(ran) == 1


def test_a_rolled_back_save_is_not_heard(forward: Forward) -> None:
    forward(post_save, Thing)
    with transaction.atomic():
        Thing.objects.create(name="undone")
        transaction.set_rollback(True)
    assert not Event.objects.exists()


@pytest.mark.parametrize("how", ["instance", "queryset"])
def test_a_deleted_row_travels_as_a_snapshot(how: str, forward: Forward) -> None:
    calls = forward(post_delete, Thing)
    thing = Thing.objects.create(name="gone")
    pk = thing.pk
    if how == "instance":
        thing.delete()
    else:
        Thing.objects.filter(pk=pk).delete()
    run_pending()
    (call,) = calls
    assert (call["instance"].pk, call["instance"].name) == (pk, "gone")
    assert call["using"] == "default"
    assert "origin" in call


def test_a_change_of_many_to_many_is_heard(forward: Forward) -> None:
    calls = forward(m2m_changed, User.groups.through)
    user = User.objects.create(username="u")
    group = Group.objects.create(name="g")
    user.groups.add(group)
    user.groups.clear()
    run_pending()
    assert [call["action"] for call in calls] == [
        "pre_add",
        "post_add",
        "pre_clear",
        "post_clear",
    ]
    assert calls[1]["pk_set"] == {group.pk}
    assert calls[1]["model"] is Group
    assert calls[1]["instance"] == user


def test_when_narrows_what_is_written(forward: Forward) -> None:
    calls = forward(post_save, Thing, when=lambda sender, created, **kwargs: created)
    thing = Thing.objects.create(name="one")
    thing.save()
    run_pending()
    assert [call["created"] for call in calls] == [True]


def test_options_of_connect_are_those_of_the_receiver(forward: Forward) -> None:
    forward(post_save, Thing, name="t.optioned", atomic=False, queue="email")
    receiver = registry.receiver("t.optioned")
    assert receiver is not None
    assert (receiver.options.atomic, receiver.options.queue) == (False, "email")


def test_the_receiver_knows_its_delivery(forward: Forward) -> None:
    seen = []

    def look(sender: object, **kwargs: Any) -> None:
        seen.append(current_delivery().signal)

    async_receiver(post_save, Thing, name="t.look")(look)
    Thing.objects.create(name="one")
    run_pending()
    post_save.disconnect(sender=Thing, dispatch_uid="t.look")
    assert seen == ["django.db.models.signals.post_save"]


def test_connecting_again_replaces_and_does_not_double(forward: Forward) -> None:
    def hear(sender: object, **kwargs: Any) -> None: ...

    for _ in range(2):
        async_receiver(post_save, Thing, name="t.twice")(hear)
    Thing.objects.create(name="one")
    post_save.disconnect(sender=Thing, dispatch_uid="t.twice")
    assert Delivery.objects.count() == 1


def test_one_receiver_may_hear_two_senders(forward: Forward) -> None:
    calls: list[object] = []

    def hear(sender: object, **kwargs: Any) -> None:
        calls.append(sender)

    for model in (Thing, Effect):
        async_receiver(post_save, model, name="t.two_senders")(hear)
    Thing.objects.create(name="one")
    Effect.objects.create(what="one")
    run_pending()
    for model in (Thing, Effect):
        post_save.disconnect(sender=model, dispatch_uid="t.two_senders")
    assert calls == [Thing, Effect]


def test_a_list_of_signals_may_be_given(forward: Forward) -> None:
    calls = forward([post_save, post_delete], Thing)
    Thing.objects.create(name="one").delete()
    ran = run_pending()
    assert len(ran) == 2
    saved, deleted = Delivery.objects.order_by("pk")
    assert (saved.state, saved.reason) == ("dead", "missing")
    assert deleted.state == "succeeded"
    assert [call["signal"] for call in calls] == [post_delete]


# -- fixtures and migrations ------------------------------------------------------


@pytest.fixture
def fixture(tmp_path: Path) -> str:
    path = tmp_path / "things.json"
    rows = [{"model": "testapp.thing", "pk": 7, "fields": {"name": "loaded"}}]
    path.write_text(json.dumps(rows))
    return str(path)


def test_rows_that_loaddata_loads_are_passed_over(
    fixture: str, forward: Forward
) -> None:
    forward(post_save, Thing)
    call_command("loaddata", fixture, verbosity=0)
    assert not Event.objects.exists()


def test_unless_they_are_asked_for(fixture: str, forward: Forward) -> None:
    calls = forward(post_save, Thing, raw=True)
    call_command("loaddata", fixture, verbosity=0)
    run_pending()
    assert [(call["raw"], call["instance"].pk) for call in calls] == [(True, 7)]


def test_models_that_a_migration_makes_for_itself_are_passed_over(
    forward: Forward,
) -> None:
    forward(post_save)
    state = ProjectState()
    state.add_model(ModelState.from_model(Thing))
    historical = state.apps.get_model("testapp", "Thing")
    historical.objects.create(name="by a migration")
    assert not Event.objects.exists()


# -- databases --------------------------------------------------------------------


@pytest.mark.django_db(databases=["default", "other"], transaction=True)
class TestDatabases:
    """A row's event belongs to the transaction that saved the row."""

    def test_the_event_goes_to_the_database_of_the_row(
        self, forward: Forward, settings: Any
    ) -> None:
        settings.SIGNAL_TASKS = {"DATABASES": None}
        calls = forward(post_save, Thing)
        with transaction.atomic():
            thing = Thing.objects.using("other").create(name="there")
        assert Event.objects.using("other").count() == 1
        assert not Event.objects.exists()
        run_pending()
        assert calls[0]["instance"] == thing
        assert calls[0]["instance"]._state.db == "other"

    def test_a_router_that_names_one_database_leads_to_no_row_of_that(
        self, forward: Forward, settings: Any
    ) -> None:
        settings.SIGNAL_TASKS = {"DATABASES": None}
        settings.DATABASE_ROUTERS = [OneAliasRouter()]
        Thing(pk=7, name="here").save(using="default")
        calls = forward(post_save, Thing)
        Thing(pk=7, name="there").save(using="other")
        run_pending()
        assert [call["instance"].name for call in calls] == ["there"]

    def test_a_database_without_an_outbox_says_so(self, forward: Forward) -> None:
        forward(post_save, Thing)
        with pytest.raises(ImproperlyConfigured, match="'other' holds no outbox"):
            Thing.objects.using("other").create(name="there")


@pytest.mark.django_db(transaction=True)
class TestEventsThatCannotBeWritten:
    """In a transaction the row is not there without its event."""

    @pytest.fixture
    def saved(self) -> Thing:
        return Thing.objects.create(name="one")

    @pytest.fixture
    def _refused(self, saved: Thing, forward: Forward, settings: Any) -> None:
        for signal in (post_save, post_delete, m2m_changed):
            forward(signal)
        settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "MAX_PAYLOAD_BYTES": 10}

    @pytest.mark.usefixtures("_refused")
    def test_a_save_outside_of_a_transaction_is_committed_before_its_event(
        self,
    ) -> None:
        with pytest.raises(PayloadError):
            Thing.objects.create(name="two")
        assert Thing.objects.count() == 2

    @pytest.mark.usefixtures("_refused")
    def test_in_a_transaction_no_row_is_saved_without_its_event(self) -> None:
        with pytest.raises(PayloadError), transaction.atomic():
            Thing.objects.create(name="two")
        assert Thing.objects.count() == 1

    @pytest.mark.usefixtures("_refused")
    @pytest.mark.parametrize(
        "write", [Thing.objects.get_or_create, Thing.objects.update_or_create]
    )
    def test_django_has_a_transaction_around_what_it_gets_or_creates(
        self, write: Callable[..., object]
    ) -> None:
        with pytest.raises(PayloadError):
            write(name="two")
        assert Thing.objects.count() == 1

    @pytest.mark.usefixtures("_refused")
    def test_django_has_a_transaction_around_a_delete(self, saved: Thing) -> None:
        with pytest.raises(PayloadError):
            saved.delete()
        assert Thing.objects.count() == 1

    def test_django_has_a_transaction_around_a_change_of_many_to_many(
        self, request: pytest.FixtureRequest
    ) -> None:
        user = User.objects.create(username="u")
        group = Group.objects.create(name="g")
        request.getfixturevalue("_refused")
        with pytest.raises(PayloadError):
            user.groups.add(group)
        assert not user.groups.exists()


def test_forwarding_adds_two_statements_at_most(forward: Forward) -> None:
    forward(post_save, Thing)
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        Thing.objects.create(name="one")
    assert len(queries) <= 3
