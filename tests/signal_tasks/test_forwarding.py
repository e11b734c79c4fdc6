"""``async_receiver``: durable receivers of signals that are not ours."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import authenticate, user_logged_in, user_login_failed
from django.contrib.auth.models import Group, User
from django.core import signals as core_signals
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection, transaction
from django.db.backends.signals import connection_created
from django.db.migrations.state import ModelState, ProjectState
from django.db.models import signals as model_signals
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.dispatch import Signal
from django.test import Client
from django.test.signals import template_rendered
from django.test.utils import CaptureQueriesContext

from signal_tasks import (
    AsyncSignal,
    PayloadError,
    Snapshot,
    async_receiver,
    current_delivery,
)
from signal_tasks.models import Delivery, Event
from signal_tasks.registry import registry
from signal_tasks.testing import run_pending
from tests.testapp.models import Effect, Thing

pytestmark = pytest.mark.django_db

third_party = Signal()
pre_something = Signal()
ours = AsyncSignal()
Forward = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def forward() -> Iterator[Forward]:
    """Connect a durable receiver for this test; what it is called with."""
    done: list[tuple[Any, Any, str, Any]] = []

    def connect(signal: Any, sender: Any = None, **options: Any) -> list[Any]:
        calls: list[dict[str, Any]] = []

        def hear(sender: object, **kwargs: Any) -> None:
            calls.append({"sender": sender, **kwargs})

        name = options.setdefault("name", f"t.forwarded_{len(done)}")
        signals = signal if isinstance(signal, list) else [signal]
        async_receiver(signal, sender, **options)(hear)
        done.extend((each, sender, name, hear) for each in signals)
        return calls

    yield connect
    for signal, sender, name, hear in done:
        signal.disconnect(sender=sender, dispatch_uid=name)
        signal.disconnect(hear, sender=sender)


# -- signals of models ------------------------------------------------------------


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
    historical._base_manager.create(name="by a migration")
    assert not Event.objects.exists()


# -- other signals ----------------------------------------------------------------


def test_excluded_keywords_stay_behind(forward: Forward, client: Client) -> None:
    calls = forward(user_logged_in, exclude=["request"])
    user = User.objects.create_user("ada", password="secret")
    client.force_login(user)
    run_pending()
    (call,) = calls
    assert "request" not in call
    assert call["user"] == user


def test_a_single_excluded_keyword_may_be_a_string(
    forward: Forward, client: Client
) -> None:
    calls = forward(user_login_failed, exclude="request")
    assert authenticate(username="nobody", password="x") is None
    run_pending()
    assert calls[0]["credentials"]["username"] == "nobody"


def test_what_cannot_travel_is_refused_with_the_way_out(
    forward: Forward, client: Client
) -> None:
    forward(user_logged_in)
    user = User.objects.create_user("ada", password="secret")
    with pytest.raises(PayloadError, match=r'request: .*exclude=\("request",\)'):
        client.force_login(user)


def test_a_third_party_signal_is_forwarded(forward: Forward) -> None:
    calls = forward(third_party)
    third_party.send(sender="them", number=1)
    run_pending()
    assert calls == [{"signal": third_party, "sender": "them", "number": 1}]


def test_an_async_signal_is_connected_as_by_receiver(forward: Forward) -> None:
    calls = forward(ours, Thing)
    assert len(ours.send(sender=Thing)) == 1
    assert ours.send(sender=None) == []
    run_pending()
    assert calls == [{"signal": ours, "sender": Thing}]


@pytest.mark.parametrize("option", [{"exclude": ["a"]}, {"snapshot": True}])
def test_options_of_forwarding_mean_nothing_to_an_async_signal(
    option: dict[str, Any], forward: Forward
) -> None:
    with pytest.raises(ImproperlyConfigured, match="would mean nothing"):
        forward(ours, **option)


def test_a_snapshot_that_was_sent_stays_one(forward: Forward) -> None:
    calls = forward(third_party, snapshot=True)
    third_party.send(sender=None, thing=Snapshot(Thing(pk=3, name="unsaved")))
    run_pending()
    assert calls[0]["thing"].name == "unsaved"


# -- names ------------------------------------------------------------------------


@pytest.fixture
def importing_module() -> Iterator[types.ModuleType]:
    """A module whose name sorts before Django's own."""
    module = types.ModuleType("a.signals")
    module.__dict__.update(
        post_delete=post_delete,
        request_finished=core_signals.request_finished,
        third_party=third_party,
    )
    sys.modules["a.signals"] = module
    yield module
    del sys.modules["a.signals"]


@pytest.mark.usefixtures("importing_module")
def test_a_signal_of_django_keeps_its_name_wherever_it_is_imported(
    forward: Forward,
) -> None:
    calls = forward(post_delete, Thing)
    Thing.objects.create(name="gone").delete()
    assert Event.objects.get().signal == "django.db.models.signals.post_delete"
    run_pending()
    assert calls[0]["instance"].name == "gone"
    with pytest.raises(ImproperlyConfigured, match="request_finished"):
        forward(core_signals.request_finished)


def test_a_process_that_files_a_signal_under_another_name_is_understood(
    forward: Forward, importing_module: types.ModuleType
) -> None:
    calls = forward(third_party)
    third_party.send(sender=None)
    Event.objects.update(signal=f"{__name__}.third_party")
    run_pending()
    assert calls[0]["signal"] is third_party


def test_a_signal_that_no_module_holds_is_refused(forward: Forward) -> None:
    with pytest.raises(ImproperlyConfigured, match="No loaded module"):
        forward(Signal())


# -- refusals ---------------------------------------------------------------------

REFUSED: dict[str, tuple[Signal, str]] = {
    "pre_init": (model_signals.pre_init, "post_save"),
    "post_init": (model_signals.post_init, "post_save"),
    "pre_save": (model_signals.pre_save, "post_save"),
    "pre_delete": (model_signals.pre_delete, "post_delete"),
    "pre_migrate": (model_signals.pre_migrate, "post_migrate"),
    "class_prepared": (model_signals.class_prepared, "before any database"),
    "request_started": (core_signals.request_started, "one process"),
    "request_finished": (core_signals.request_finished, "a signal of your own"),
    "got_request_exception": (core_signals.got_request_exception, "rolled back"),
    "connection_created": (connection_created, "one process"),
    "setting_changed": (core_signals.setting_changed, "test process"),
    "template_rendered": (template_rendered, "test process"),
    "pre_something": (pre_something, "post_"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_signal_without_a_durable_meaning_is_refused_with_the_reason(
    what: str, forward: Forward
) -> None:
    signal, reason = REFUSED[what]
    before = len(signal.receivers)
    with pytest.raises(ImproperlyConfigured, match=f"{what} cannot .*{reason}"):
        forward(signal)
    assert len(signal.receivers) == before


def test_a_receiver_without_a_name_is_refused(forward: Forward) -> None:
    with pytest.raises(ImproperlyConfigured, match="nested function"):
        forward(post_save, Thing, name=None)
    Thing.objects.create(name="one")
    assert not Event.objects.exists()


def test_an_inline_receiver_is_left_to_django(forward: Forward) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"django\.dispatch\.receiver"):
        forward(post_save, Thing, inline=True)


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

    def test_a_database_without_an_outbox_says_so(self, forward: Forward) -> None:
        forward(post_save, Thing)
        with pytest.raises(ImproperlyConfigured, match="'other' holds no outbox"):
            Thing.objects.using("other").create(name="there")


def test_forwarding_adds_two_statements_at_most(forward: Forward) -> None:
    forward(post_save, Thing)
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        Thing.objects.create(name="one")
    assert len(queries) <= 3
