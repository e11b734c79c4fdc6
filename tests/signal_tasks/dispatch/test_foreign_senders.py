"""Signals that are not ours are heard as they are, and never break their senders."""

from __future__ import annotations

import gc
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import user_logged_in, user_login_failed
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connection, transaction
from django.db.models.signals import post_save
from django.dispatch import Signal
from django.http import HttpRequest, HttpResponse

from signal_tasks import PayloadError, async_receiver
from signal_tasks.checks.receivers import arguments_travel
from signal_tasks.models import Delivery, Event
from signal_tasks.testing import run_pending
from tests.signal_tasks.dispatch.conftest import Forward
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db

viewed = Signal()


class Service:
    """A sender as several packages have it: an object that does something."""

    def place(self, **kwargs: Any) -> list[Any]:
        return viewed.send(sender=self, **kwargs)


def a_view(request: HttpRequest) -> None: ...


class WithMeta(type):
    """The class of a class."""


class Handler(metaclass=WithMeta):
    """A class as a sender."""


# -- senders ----------------------------------------------------------------------


SENDERS: dict[str, tuple[object, object]] = {
    "nobody": (None, None),
    "a string": ("me", "me"),
    "a class": (Handler, Handler),
    "a model": (Thing, Thing),
    "an object": (Service(), Service),
    "a function": (a_view, f"{__name__}.a_view"),
    "a method": (Service().place, f"{__name__}.Service.place"),
    "a lambda": (lambda: None, f"{__name__}.<lambda>"),
    "a builtin": (len, "builtins.len"),
    "a module": (transaction, "django.db.transaction"),
    "an exception": (ValueError("x"), ValueError),
    "an id": (uuid.uuid4(), uuid.UUID),
}


@pytest.mark.parametrize("kind", SENDERS)
def test_a_sender_travels_as_what_a_worker_can_have(
    kind: str, forward: Forward
) -> None:
    sender, arrives = SENDERS[kind]
    calls = forward(viewed)
    viewed.send(sender=sender)
    run_pending()
    assert calls[0]["sender"] == arrives


def test_a_row_as_sender_is_read_again(forward: Forward) -> None:
    calls = forward(viewed)
    thing = Thing.objects.create(name="one")
    viewed.send(sender=thing)
    run_pending()
    assert calls[0]["sender"] == thing


def test_an_excluded_sender_arrives_as_none(forward: Forward) -> None:
    calls = forward(viewed, exclude=["sender"])

    class Local:
        """A class that no worker can import."""

    viewed.send(sender=Local(), number=1)
    run_pending()
    assert calls == [{"signal": viewed, "sender": None, "number": 1}]


def test_a_sender_whose_class_no_worker_has_is_refused_with_the_way_out(
    forward: Forward,
) -> None:
    forward(viewed)

    class Local:
        """A class that no worker can import."""

    with pytest.raises(PayloadError, match=r"exclude=\['sender'\]"):
        viewed.send(sender=Local())


def test_a_receiver_may_hear_one_object_alone(forward: Forward) -> None:
    mine, other = Service(), Service()
    calls = forward(viewed, mine)
    mine.place(number=1)
    other.place(number=2)
    run_pending()
    assert [call["number"] for call in calls] == [1]


# -- errors -----------------------------------------------------------------------


def hear(sender: object, **kwargs: Any) -> None: ...


@pytest.fixture
def _heard() -> Iterator[None]:
    async_receiver(viewed)(hear)
    yield
    viewed.disconnect(dispatch_uid=f"{__name__}.hear")


@pytest.mark.usefixtures("_heard")
def test_an_error_names_the_receiver_its_line_and_the_way_out() -> None:
    with pytest.raises(PayloadError) as caught:
        viewed.send(sender=None, response=HttpResponse())
    told = str(caught.value)
    line = hear.__code__.co_firstlineno
    assert f"{__name__}.hear ({Path(__file__)}:{line})" in told
    assert "exclude=['response']" in told
    assert "snapshot=True" not in told


@pytest.mark.usefixtures("_heard")
def test_for_a_row_that_is_not_saved_a_snapshot_is_a_way_out_too() -> None:
    with pytest.raises(PayloadError, match=r"exclude=\['thing'\], or with snapshot"):
        viewed.send(sender=None, thing=Thing(name="unsaved"))


@pytest.mark.usefixtures("_heard")
def test_every_receiver_of_the_event_is_named(forward: Forward) -> None:
    forward(viewed, name="t.another")
    with pytest.raises(PayloadError, match=r"for .*\.hear .*, t\.another .*:\d+\)"):
        viewed.send(sender=None, response=HttpResponse())


def test_a_receiver_that_needs_what_it_excludes_is_refused_at_connect() -> None:
    def takes(sender: object, request: object, **kwargs: Any) -> None: ...

    with pytest.raises(ImproperlyConfigured, match="cannot be called without 'request"):
        async_receiver(user_logged_in, exclude=["request"], name="t.takes")(takes)

    def may_take(sender: object, request: object = None, **kwargs: Any) -> None: ...

    async_receiver(user_logged_in, exclude=["request"], name="t.may_take")(may_take)
    assert user_logged_in.disconnect(dispatch_uid="t.may_take")


@pytest.mark.parametrize("signal", [user_logged_in, user_login_failed])
def test_the_check_tells_which_receiver_never_gets_its_usual_arguments(
    signal: Signal, forward: Forward
) -> None:
    forward(signal, exclude=["request"])
    assert list(arguments_travel()) == []
    forward(signal, name="t.unfit")
    (message,) = arguments_travel()
    assert message.id == "signal_tasks.E008"
    assert "t.unfit" in message.msg
    assert "exclude=['request']" in str(message.hint)


# -- send_robust ------------------------------------------------------------------


def send_robust_async(**kwargs: Any) -> list[Any]:
    async def send() -> list[Any]:
        return await viewed.asend_robust(**kwargs)

    return async_to_sync(send)()


ROBUST: dict[str, Callable[..., list[Any]]] = {
    "send_robust": viewed.send_robust,
    "asend_robust": send_robust_async,
}
robustly = pytest.mark.parametrize("way", ROBUST)


@robustly
@pytest.mark.usefixtures("_heard")
def test_what_cannot_travel_is_the_response(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    ((_, response),) = ROBUST[way](sender="me", request=object())
    assert isinstance(response, PayloadError)
    assert "hear" in caplog.text  # as Django logs it


class Partial:
    """A receiver without a name of its own."""

    def __call__(self, sender: object, **kwargs: Any) -> None: ...


def test_a_receiver_without_a_name_does_not_make_it_raise() -> None:
    receiver = Partial()
    async_receiver(viewed, name="t.partial")(receiver)
    ((_, response),) = viewed.send_robust(sender="me", request=object())
    assert isinstance(response, PayloadError)
    viewed.disconnect(dispatch_uid="t.partial")


@contextmanager
def renamed(table: str) -> Iterator[None]:
    """Take a table away, as where signal_tasks was never migrated."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO gone_for_now")
        try:
            yield
        finally:
            cursor.execute(f"ALTER TABLE gone_for_now RENAME TO {table}")


@pytest.mark.django_db(transaction=True)
@robustly
@pytest.mark.usefixtures("_heard")
def test_a_database_without_our_tables_does_not_break_the_transaction(
    way: str,
) -> None:
    with renamed("signal_tasks_event"):
        viewed.send_robust(sender="me")  # as the first one that fails
        with transaction.atomic():
            ((_, response),) = ROBUST[way](sender="me")
            Thing.objects.create(name="the transaction is usable")
    assert isinstance(response, Error)
    assert Thing.objects.exists()
    ((_, response),) = viewed.send_robust(sender="me")
    assert response is None
    assert Event.objects.count() == 1


@robustly
@pytest.mark.usefixtures("_heard")
def test_a_database_that_holds_no_outbox_does_not_break_the_transaction(
    way: str, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {"DATABASES": []}
    with transaction.atomic():
        ((_, response),) = ROBUST[way](sender="me", using="elsewhere")
        Thing.objects.create(name="the transaction is usable")
    assert isinstance(response, ImproperlyConfigured)


# -- connections ------------------------------------------------------------------


def test_a_connection_ends_with_djangos_even_if_something_keeps_its_forwarder(
    forward: Forward,
) -> None:
    def first(sender: object, **kwargs: Any) -> None: ...

    async_receiver(post_save, Thing, name="t.first")(first)
    kept = [each for each in gc.get_objects() if type(each).__name__ == "Forwarder"]
    calls = forward(post_save, Thing)
    post_save.disconnect(sender=Thing, dispatch_uid="t.first")
    Thing.objects.create(name="one")
    run_pending()
    assert kept
    assert len(calls) == 1


def test_so_does_one_whose_sender_was_named_by_its_label(forward: Forward) -> None:
    def first(sender: object, **kwargs: Any) -> None: ...

    gc.disable()
    try:
        async_receiver(post_save, "testapp.Thing", name="t.first")(first)
        calls = forward(post_save, Thing)
        post_save.disconnect(sender="testapp.Thing", dispatch_uid="t.first")
        Thing.objects.create(name="one")
    finally:
        gc.enable()
    run_pending()
    assert len(calls) == 1


def note(sender: object, **kwargs: Any) -> None: ...


WITH_UID = {"dispatch_uid": ("an", "object"), "name": "t.noted"}
OWN_KEYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "its function": ({}, {"receiver": note}),
    "its function, if named": ({"name": "t.noted"}, {"receiver": note}),
    "its name": ({"name": "t.noted"}, {"dispatch_uid": "t.noted"}),
    "its dispatch_uid": (WITH_UID, {"dispatch_uid": ("an", "object")}),
}


@pytest.mark.parametrize("key", OWN_KEYS)
def test_djangos_disconnect_ends_a_connection_by(key: str) -> None:
    options, own_key = OWN_KEYS[key]
    async_receiver(post_save, Thing, **options)(note)
    assert post_save.disconnect(sender=Thing, **own_key)
    Thing.objects.create(name="one")
    assert not Event.objects.exists()
    assert not post_save.disconnect(sender=Thing, **own_key)


def test_a_method_that_is_connected_ends_by_disconnect_too() -> None:
    class Listener:
        def note(self, sender: object, **kwargs: Any) -> None: ...

    listener = Listener()
    async_receiver(post_save, Thing, name="t.noted")(listener.note)
    assert post_save.disconnect(listener.note, sender=Thing)
    Thing.objects.create(name="one")
    assert not Event.objects.exists()


@pytest.mark.parametrize("also", ["inline", "durably"])
def test_disconnect_of_another_function_leaves_it_connected(also: str) -> None:
    def other(sender: object, **kwargs: Any) -> None: ...

    async_receiver(post_save, Thing, name="t.noted")(note)
    if also == "inline":
        post_save.connect(other, sender=Thing)
    else:
        async_receiver(post_save, Thing, name="t.other")(other)
    assert post_save.disconnect(other, sender=Thing)
    Thing.objects.create(name="one")
    assert [each.receiver for each in Delivery.objects.all()] == ["t.noted"]
    assert post_save.disconnect(note, sender=Thing)


def test_a_function_that_is_connected_inline_already_is_heard_both_ways() -> None:
    calls = []

    def hear(sender: object, **kwargs: Any) -> None:
        calls.append(sender)

    post_save.connect(hear, sender=Thing)
    async_receiver(post_save, Thing, name="t.both")(hear)
    Thing.objects.create(name="one")
    run_pending()
    assert calls == [Thing, Thing]
    post_save.disconnect(sender=Thing, dispatch_uid="t.both")
    post_save.disconnect(hear, sender=Thing)


AGAIN: dict[str, dict[str, Any]] = {
    "the function": {},
    "uid": {"dispatch_uid": "t.uid"},
}


@pytest.mark.parametrize("key", AGAIN)
def test_one_that_is_connected_again_under_another_name_replaces_the_first(
    key: str,
) -> None:
    for name in ("t.first", "t.second"):
        async_receiver(post_save, Thing, name=name, **AGAIN[key])(note)
    Thing.objects.create(name="one")
    assert [each.receiver for each in Delivery.objects.all()] == ["t.second"]
    assert post_save.disconnect(note, sender=Thing, **AGAIN[key])
    assert not post_save.disconnect(sender=Thing, dispatch_uid="t.first")
