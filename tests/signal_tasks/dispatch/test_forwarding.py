"""``async_receiver`` of other signals that are not ours."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import authenticate, user_logged_in, user_login_failed
from django.contrib.auth.models import User
from django.core import signals as core_signals
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.signals import connection_created
from django.db.models import signals as model_signals
from django.db.models.signals import post_delete, post_save
from django.dispatch import Signal
from django.test import Client
from django.test.signals import template_rendered

from signal_tasks import AsyncSignal, PayloadError, Snapshot
from signal_tasks.models import Event
from signal_tasks.testing import run_pending
from tests.signal_tasks.dispatch.conftest import Forward
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db

third_party = Signal()

pre_something = Signal()

ours = AsyncSignal()


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


def test_keywords_of_model_signals_mean_nothing_in_a_third_party_signal(
    forward: Forward,
) -> None:
    calls = forward(third_party)
    third_party.send(sender=None, raw=True, using="smtp")
    assert Event.objects.count() == 1
    run_pending()
    assert calls == [
        {"signal": third_party, "sender": None, "raw": True, "using": "smtp"}
    ]


@pytest.mark.django_db(databases=["default", "other"])
def test_a_database_that_a_third_party_signal_names_gets_the_event(
    forward: Forward, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {"DATABASES": ["default", "other"]}
    calls = forward(third_party)
    third_party.send(sender=Thing, using="other")
    assert Event.objects.using("other").count() == 1
    assert not Event.objects.using("default").exists()
    run_pending()
    assert calls[0]["using"] == "other"


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


def test_a_snapshot_is_made_of_instances_inside_of_other_values(
    forward: Forward,
) -> None:
    calls = forward(third_party, snapshot=True)
    thing = Thing.objects.create(name="at first")
    third_party.send(sender=None, things=[thing], by_name={"one": (thing,)})
    thing.delete()
    run_pending()
    (call,) = calls
    assert [each.name for each in call["things"]] == ["at first"]
    assert call["by_name"]["one"][0].name == "at first"


# -- names ------------------------------------------------------------------------


@pytest.fixture
def importing_module() -> Iterator[types.ModuleType]:
    """Load a module whose name sorts before Django's own."""
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
