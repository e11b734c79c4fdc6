"""What cannot be meant is refused by a sentence that names it, and says what to give."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.db.models.signals import post_save
from django.dispatch import Signal

from signal_tasks import AsyncSignal, Coalesce, RetryPolicy, operations, receiver
from signal_tasks.models import Event
from tests.signal_tasks.conftest import listen

pytestmark = pytest.mark.django_db

STRANGE: tuple[object, ...] = (
    *("5", b"5", True, [5], {5: 5}, object(), date(2040, 1, 1), float("nan"), len),
    10**400,  # no float can hold it
)


def hear(sender: object, **kwargs: Any) -> None: ...


# -- options --------------------------------------------------------------------------


@pytest.mark.parametrize("value", STRANGE, ids=lambda value: repr(value)[:40])
def test_a_delay_that_is_no_time_is_refused_by_its_name(
    value: Any, signal: AsyncSignal
) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^using\(\): delay is .*; give"):
        signal.using(delay=value)


@pytest.mark.parametrize(
    "option", ["at", "headers", "subject", "key", "dedupe_key", "dedupe_for"]
)
def test_each_option_of_a_send_is_refused_by_its_name(
    option: str, signal: AsyncSignal
) -> None:
    with pytest.raises(
        (TypeError, ValueError), match=rf"^using\(\): {option} .*; give"
    ):
        signal.using(**{option: object()})  # type: ignore[arg-type]


def test_headers_are_a_mapping(signal: AsyncSignal) -> None:
    with pytest.raises(TypeError, match=r"headers is .*; give a mapping"):
        signal.using(headers="")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [5, None, b"t.old"], ids=repr)
def test_former_names_are_names(value: Any, signal: AsyncSignal) -> None:
    with pytest.raises(TypeError, match=r"aliases is .*; give a name, or several"):
        signal.connect(hear, name="t.aliases", aliases=value)
    with pytest.raises(TypeError, match=r"aliases is .*; give a name, or several"):
        AsyncSignal(name="t.signal", aliases=value)
    with pytest.raises(TypeError, match=r"AsyncSignal: sensitive is .*; give a name"):
        AsyncSignal(name="t.signal", sensitive=value)


@pytest.mark.parametrize("field", ["retry_on", "give_up_on"])
def test_a_policy_is_about_classes_of_exceptions(field: str) -> None:
    with pytest.raises(TypeError, match=f"{field} holds 5; give exception classes"):
        RetryPolicy(**{field: 5})  # type: ignore[arg-type]


# -- ids ------------------------------------------------------------------------------

VERBS: dict[str, Callable[[Any], object]] = {
    "skip": operations.skip,
    "describe": operations.describe,
    "find": operations.find,
    "ids": lambda given: operations.Selection(ids=[given]),
}


@pytest.mark.parametrize("given", ["abc", "", 5, None], ids=repr)
@pytest.mark.parametrize("verb", VERBS)
def test_what_is_no_id_is_refused_by_every_verb_that_takes_one(
    verb: str, given: Any
) -> None:
    with pytest.raises(ValueError, match=rf"{verb}.* is .*; give a UUID, or its text"):
        VERBS[verb](given)


@pytest.mark.parametrize("given", ["abc", b"abc", 5, uuid.uuid4(), len], ids=repr)
def test_ids_are_several(given: Any) -> None:
    with pytest.raises(ValueError, match=r"^ids is .*; give a list of ids"):
        operations.Selection(ids=given)


def test_an_id_may_be_given_as_its_text(signal: AsyncSignal) -> None:
    listen(signal)
    ((_, handle),) = signal.send(sender=None)
    found = operations.describe(str(handle.id))
    assert found is not None
    assert found["deliveries"][0]["delivery"] == str(handle.id)
    assert operations.find(str(handle.id)) is None


# -- functions of what is sent ----------------------------------------------------------


def keyed() -> AsyncSignal:
    signal = AsyncSignal(name=f"t.{uuid.uuid4().hex}", key=lambda sender, order: order)
    signal.connect(hear, name=f"t.{uuid.uuid4().hex}", ordered=True, weak=False)
    return signal


def coalescing() -> AsyncSignal:
    signal = AsyncSignal(name=f"t.{uuid.uuid4().hex}")
    key = Coalesce(key=lambda sender, order: order)
    signal.connect(hear, name=f"t.{uuid.uuid4().hex}", coalesce=key)
    return signal


def conditional() -> AsyncSignal:
    signal = AsyncSignal(name=f"t.{uuid.uuid4().hex}")
    name = f"t.{uuid.uuid4().hex}"
    signal.connect(hear, name=name, when=lambda sender, order: bool(order))
    return signal


def names(signal: AsyncSignal) -> Iterator[str]:
    yield signal.name
    yield from (each.receiver.name for each in signal.durable_connections)


@pytest.mark.parametrize("make", [keyed, coalescing, conditional])
def test_a_function_that_misses_a_keyword_is_named_by_whose_it_is(
    make: Callable[[], AsyncSignal],
) -> None:
    signal = make()
    with pytest.raises(TypeError, match=r"missing 1 required .* 'order'") as raised:
        signal.send(sender=None)
    assert any(name in str(raised.value) for name in names(signal))
    assert "cannot be called for this send" in str(raised.value)
    assert not Event.objects.exists()


def test_an_error_in_such_a_function_is_its_own() -> None:
    def key(sender: object, **kwargs: Any) -> int:
        return len(sender)  # type: ignore[arg-type]

    signal = AsyncSignal(name=f"t.{uuid.uuid4().hex}", key=key)
    signal.connect(hear, name=f"t.{uuid.uuid4().hex}", ordered=True)
    with pytest.raises(TypeError, match=r"^object of type 'NoneType' has no len\(\)$"):
        signal.send(sender=None)


# -- signals that are not ours ----------------------------------------------------------


@pytest.mark.parametrize(
    ("signal", "shown"),
    [(post_save, "django.db.models.signals.post_save"), (Signal(), "Signal object")],
    ids=["a known signal", "an unknown one"],
)
def test_an_option_for_a_signal_that_is_not_ours_leads_to_async_receiver(
    signal: Signal, shown: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match="@async_receiver") as raised:
        receiver(signal, batch=5, retry=None)(hear)  # type: ignore[call-overload]
    assert shown in str(raised.value)
    assert "batch, retry would mean nothing" in str(raised.value)


def test_options_of_django_are_left_to_django() -> None:
    signal = Signal()
    receiver(signal, dispatch_uid="t.uid")(hear)
    with pytest.raises(TypeError, match="strange"):
        receiver(signal, strange=1)(hear)  # type: ignore[call-overload]
    assert signal.disconnect(dispatch_uid="t.uid")


def test_a_signal_that_takes_any_option_gets_them_all() -> None:
    class Theirs(Signal):
        def connect(self, receiver: Any, *args: Any, **kwargs: Any) -> None:
            self.queue = kwargs.pop("queue")
            super().connect(receiver, *args, **kwargs)

    signal = Theirs()
    receiver(signal, queue="mail")(hear)  # type: ignore[call-overload]
    assert signal.queue == "mail"
    assert signal.disconnect(hear)


# -- combinations -----------------------------------------------------------------------


def test_on_dead_is_for_ordered_receivers(signal: AsyncSignal) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"on_dead='skip'.*ordered=True"):
        signal.connect(hear, name="t.skips", on_dead="skip")


@pytest.mark.parametrize("within", [60, timedelta(days=7)], ids=repr)
def test_dedupe_for_means_nothing_without_a_key(
    within: Any, signal: AsyncSignal
) -> None:
    with pytest.raises(ValueError, match="dedupe_for means nothing without dedupe_key"):
        signal.using(dedupe_for=within)


def test_without_a_dedupe_key_each_send_is_the_first(signal: AsyncSignal) -> None:
    listen(signal)
    for _ in range(2):
        signal.using(dedupe_key=None).send(sender=None)
    assert Event.objects.count() == 2


@pytest.mark.parametrize("way", ["send", "send_robust", "asend", "send_many"])
def test_nobody_sends_settled_by_hand(way: str, signal: AsyncSignal) -> None:
    listen(signal.settled, name="t.settled")
    for sending in (signal.settled, signal.settled.using(key="k")):
        send: Any = getattr(sending, way)
        given = ([{"key": "k"}],) if way == "send_many" else ()
        with pytest.raises(ImproperlyConfigured, match=f"Send {signal.name};"):
            async_to_sync(send)(None) if way == "asend" else send(None, *given)
    assert not Event.objects.exists()
