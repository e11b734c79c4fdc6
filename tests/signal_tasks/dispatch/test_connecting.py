"""Connecting and disconnecting receivers, for all senders or for one."""

from __future__ import annotations

import functools
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.dispatch import receiver

from signal_tasks import AsyncSignal, RetryPolicy
from signal_tasks.models import Attempt
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db


def module_receiver(sender: object, **kwargs: Any) -> None: ...


def names(signal: AsyncSignal) -> list[str]:
    return [each.receiver.name for each in signal.durable_connections]


def test_a_receiver_has_to_accept_keywords(signal: AsyncSignal) -> None:
    def strict(sender: object) -> None: ...

    with pytest.raises(ValueError, match="keyword arguments"):
        signal.connect(strict, name="t.strict")


def test_a_receiver_has_to_be_callable(signal: AsyncSignal) -> None:
    with pytest.raises(TypeError, match="callable"):
        signal.connect("not callable", name="t.text")  # type: ignore[arg-type]


def test_connecting_touches_no_database(
    signal: AsyncSignal, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        listen(signal)


def test_the_stock_decorator_hands_its_keywords_to_connect(
    signal: AsyncSignal,
) -> None:
    policy = RetryPolicy(max_attempts=2)

    @receiver(signal, sender=Thing, name="t.decorated", atomic=False, retry=policy)
    def decorated(sender: object, **kwargs: Any) -> None: ...

    (connection,) = signal.durable_connections
    assert connection.receiver.name == "t.decorated"
    assert connection.receiver.options.atomic is False
    assert connection.receiver.options.retry is policy
    assert signal.has_listeners(Thing)
    assert not signal.has_listeners(None)


def test_the_stock_decorator_connects_to_a_list_of_signals() -> None:
    one, two = AsyncSignal(name="t.list_one"), AsyncSignal(name="t.list_two")

    @receiver([one, two], atomic=False, name="t.on_both")
    def on_both(sender: object, **kwargs: Any) -> None: ...

    assert names(one) == names(two) == ["t.on_both"]


# -- senders ----------------------------------------------------------------------


class Sender:
    def method(self) -> None: ...


SENDERS: dict[str, Any] = {
    "a class": Sender,
    "a model class": Thing,
    "an instance": Sender(),
    "a string": "shop",
    "a model instance": Thing(pk=1, name="one"),
}


@pytest.mark.parametrize("what", SENDERS)
def test_a_receiver_hears_only_the_sender_it_asked_for(
    what: str, signal: AsyncSignal
) -> None:
    wanted = SENDERS[what]
    listen(signal, sender=wanted)
    assert signal.has_listeners(wanted)
    for other in SENDERS.values():
        assert signal.has_listeners(other) is (other is wanted)
    assert not signal.has_listeners(None)


def test_senders_are_told_apart_by_identity_not_equality(signal: AsyncSignal) -> None:
    one, equal = Thing(pk=1), Thing(pk=1)
    assert one == equal
    listen(signal, sender=one)
    assert signal.has_listeners(one)
    assert not signal.has_listeners(equal)


def test_a_bound_method_may_be_the_sender_as_in_django(signal: AsyncSignal) -> None:
    sender = Sender()
    listen(signal, sender=sender.method)
    assert signal.has_listeners(sender.method)
    assert not signal.has_listeners(Sender().method)


def test_a_partial_may_be_the_sender_as_in_django(signal: AsyncSignal) -> None:
    sender = functools.partial(print)
    listen(signal, sender=sender)
    assert signal.has_listeners(sender)
    assert not signal.has_listeners(functools.partial(print))


def test_a_sender_is_not_kept_alive(signal: AsyncSignal) -> None:
    listen(signal, sender=Sender())
    gc.collect()
    assert not any(signal.has_listeners(Sender()) for _ in range(100))


def test_a_receiver_without_a_sender_hears_all(signal: AsyncSignal) -> None:
    listen(signal)
    assert all(signal.has_listeners(sender) for sender in (None, *SENDERS.values()))


def test_a_receiver_that_hears_a_sender_twice_gets_one_delivery(
    signal: AsyncSignal,
) -> None:
    signal.connect(module_receiver)
    signal.connect(module_receiver, sender=Thing)
    assert len(signal.durable_connections) == 2
    assert len(signal.send(sender=Thing)) == 1


# -- disconnecting ----------------------------------------------------------------


def test_disconnecting_says_whether_there_was_one(signal: AsyncSignal) -> None:
    signal.connect(module_receiver)
    assert signal.disconnect(module_receiver) is True
    assert signal.disconnect(module_receiver) is False
    assert signal.send(sender=None) == []


def test_disconnecting_by_dispatch_uid(signal: AsyncSignal) -> None:
    signal.connect(module_receiver, dispatch_uid="t.by_uid")
    assert signal.disconnect(module_receiver) is False
    assert signal.disconnect(dispatch_uid="t.by_uid") is True
    assert not signal.has_listeners()


def test_disconnecting_from_one_sender_leaves_the_others(signal: AsyncSignal) -> None:
    signal.connect(module_receiver, sender=Thing)
    signal.connect(module_receiver, sender=Sender)
    assert signal.disconnect(module_receiver) is False
    assert signal.disconnect(module_receiver, sender=Thing) is True
    assert not signal.has_listeners(Thing)
    assert signal.has_listeners(Sender)


def test_disconnecting_an_inline_receiver(signal: AsyncSignal) -> None:
    signal.connect(module_receiver, inline=True)
    assert signal.disconnect(module_receiver) is True
    assert not signal.has_listeners()


def test_inline_and_durable_receivers_share_a_signal(signal: AsyncSignal) -> None:
    assert not signal.has_listeners()
    inline, durable = listen(signal, inline=True), listen(signal)
    signal.send(sender=None)
    assert len(inline) == 1
    assert durable == []


def makes_a_generator(sender: object, **kwargs: Any) -> Iterator[None]:
    yield


async def makes_an_async_generator(
    sender: object, **kwargs: Any
) -> AsyncIterator[None]:
    yield


class Yields:
    def __call__(self, sender: object, **kwargs: Any) -> Iterator[None]:
        yield


@pytest.mark.parametrize(
    "receiver", [makes_a_generator, makes_an_async_generator, Yields()]
)
def test_a_receiver_that_yields_is_refused(receiver: Any, signal: AsyncSignal) -> None:
    with pytest.raises(ImproperlyConfigured, match="it yields"):
        signal.connect(receiver, name="t.yields")


@pytest.mark.parametrize("made", [makes_a_generator, makes_an_async_generator])
def test_one_that_returns_a_generator_has_failed(
    made: Callable[..., Any], signal: AsyncSignal
) -> None:
    def wrapper(sender: object, **kwargs: Any) -> object:
        return made(sender, **kwargs)

    signal.connect(wrapper, name="t.returns_generator")
    ((_, handle),) = signal.send(sender=None)
    run_pending()
    assert handle.refresh().state == "pending"
    assert "cannot yield" in Attempt.objects.get().error
