"""The key of a send: given, of the signal, or the event's subject."""

from __future__ import annotations

import enum
import uuid
from typing import Any

import pytest
from django.db import models
from django.db.models.signals import post_delete, post_save

from signal_tasks import AsyncSignal, Snapshot, async_receiver
from signal_tasks.models import Delivery, Event, Sequence, Turn
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.ordering.steps import Ordered
from tests.testapp.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)


class Colour(str, enum.Enum):  # noqa: UP042 - as projects have them
    """Its members equal their values, and have a text of their own."""

    RED = "red"


class Level(int, enum.Enum):
    """The same of numbers."""

    HIGH = 5


def keys() -> list[str]:
    """Return the keys of all sequences, without what tells them apart on MySQL."""
    found = Sequence.objects.values_list("key", flat=True)
    return sorted(key.partition("#")[0] for key in found)


@pytest.mark.parametrize(
    ("key", "stored"),
    [
        ("order 5", "order 5"),
        (5, "5"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Colour.RED, "red"),
        (Level.HIGH, "5"),
    ],
)
def test_a_key_is_text_a_number_or_a_uuid(key: Any, stored: str) -> None:
    Ordered().send(1, key=key)
    assert keys() == [stored]


def test_a_model_instance_is_a_key() -> None:
    effect = Effect.objects.create(what="x")
    Ordered().send(1, key=effect)
    assert keys() == [f"testapp.effect:{effect.pk}"]


def test_long_keys_are_told_apart_by_their_hashes() -> None:
    ordered = Ordered()
    for last in "ab":
        ordered.send(1, key="x" * 300 + last)
    assert all(key.startswith("sha256:") for key in keys())
    assert len(keys()) == 2


@pytest.mark.parametrize(
    "pair", [("a", "A"), ("e", "\N{LATIN SMALL LETTER E WITH ACUTE}"), ("a", "a ")]
)
def test_keys_that_a_collation_takes_for_the_same_are_not(pair: Any) -> None:
    ordered = Ordered()
    handles = [ordered.send(key, key=key) for key in pair]
    again = [ordered.send(key, key=key) for key in pair]
    ordered.run(handles[1], again[1])
    assert ordered.calls == [pair[1], pair[1]]
    assert Sequence.objects.count() == 2


@pytest.mark.parametrize("key", [True, 1.5, None, b"x"])
def test_other_keys_are_refused(key: Any) -> None:
    ordered = Ordered()
    with pytest.raises((TypeError, ValueError), match="key"):
        ordered.send(1, key=key)
    assert not Event.objects.exists()


@pytest.mark.parametrize("key", ["", Effect(what="not saved")])
def test_an_empty_key_is_refused(key: Any) -> None:
    with pytest.raises(ValueError, match="key"):
        Ordered().send(1, key=key)


def test_the_key_of_the_signal_holds_for_all_its_sends() -> None:
    signal = AsyncSignal(
        name=f"tests.{uuid.uuid4().hex}", key=lambda sender, n, **named: f"mod {n % 2}"
    )
    listen(signal, ordered=True)
    signal.send(sender=None, n=1)
    signal.send_many(sender=None, items=[{"n": n} for n in range(6)])
    assert keys() == ["mod 0", "mod 1"]
    assert Turn.objects.count() == 7


def test_a_given_key_comes_before_that_of_the_signal() -> None:
    signal = AsyncSignal(name=f"tests.{uuid.uuid4().hex}", key=lambda sender, **_: "a")
    listen(signal, ordered=True)
    signal.using(key="b").send(sender=None)
    assert keys() == ["b"]


def test_a_signal_whose_key_is_no_function_is_refused() -> None:
    with pytest.raises(TypeError, match="give a function"):
        AsyncSignal(key="order")  # type: ignore[arg-type]


def test_without_ordered_receivers_the_signal_is_not_asked_for_a_key() -> None:
    signal = AsyncSignal(name=f"tests.{uuid.uuid4().hex}", key=lambda sender: 1 / 0)
    listen(signal)
    signal.send(sender=None)
    assert not Sequence.objects.exists()


def test_the_subject_is_the_key_of_a_send_without_one() -> None:
    ordered = Ordered()
    sender, named = (Effect.objects.create(what=what) for what in "ab")
    ordered.signal.send(sender=sender, n=1, effect=named)
    ordered.signal.send(sender=None, n=1, effect=named)
    ordered.signal.send(sender=None, n=1, effect=Snapshot(named))
    assert keys() == sorted(f"testapp.effect:{each.pk}" for each in (sender, named))


class Seat(models.Model):
    """A row with a composite key."""

    pk = models.CompositePrimaryKey("row", "place")
    row = models.CharField(max_length=9)
    place = models.CharField(max_length=9)

    class Meta:
        app_label = "testapp"
        managed = False

    def __str__(self) -> str:
        return f"{self.row}{self.place}"


class Page(models.Model):
    """A row whose key is a text."""

    path = models.CharField(max_length=300, primary_key=True)

    class Meta:
        app_label = "testapp"
        managed = False

    def __str__(self) -> str:
        return self.path


@pytest.mark.parametrize(
    "instance",
    [Seat(row="a", place="2"), Page(path="/a/"), Page(path=" /a/ ")],
    ids=["composite", "text", "spaces"],
)
def test_a_row_is_one_key_whether_it_is_given_or_the_subject(instance: Any) -> None:
    ordered = Ordered()
    ordered.send(1, key=instance)
    ordered.signal.using(subject=instance).send(sender=None, n=2)
    assert len(keys()) == 1


def test_two_rows_with_composite_keys_are_two_keys() -> None:
    ordered = Ordered()
    for row, place in (("a,b", "c"), ("a", "b,c"), ("a\\", "b"), ("a", "\\b")):
        ordered.send(1, key=Seat(row=row, place=place))
    assert len(keys()) == 4


def test_a_row_with_half_a_composite_key_is_not_saved() -> None:
    with pytest.raises(ValueError, match="not saved"):
        Ordered().send(1, key=Seat(row="a", place=None))


def test_a_send_without_any_key_is_refused_before_anything_is_written() -> None:
    ordered = Ordered()
    first, second = (Effect.objects.create(what=what) for what in "ab")
    for named in ({}, {"a": first, "b": second}):
        with pytest.raises(ValueError, match="without a key") as caught:
            ordered.signal.send(sender=None, n=1, **named)
    message = str(caught.value)
    for part in (ordered.signal.name, ordered.name, "using(key=", "AsyncSignal(key="):
        assert part in message
    assert not Event.objects.exists()


def test_an_item_without_a_key_refuses_all_of_a_send_many() -> None:
    ordered = Ordered()
    effect = Effect.objects.create(what="x")
    with pytest.raises(ValueError, match="without a key"):
        ordered.signal.send_many(sender=None, items=[{"n": 1, "e": effect}, {"n": 2}])
    assert not Event.objects.exists()


def test_receivers_of_one_event_have_sequences_of_their_own() -> None:
    ordered = Ordered()
    calls = listen(ordered.signal, ordered=True)
    unordered = listen(ordered.signal)
    ordered.signal.using(key="k").send(sender=None, n=1)
    assert Sequence.objects.count() == Turn.objects.count() == 2
    assert Delivery.objects.count() == 3
    assert calls == unordered == []


def test_a_renamed_receiver_goes_on_with_the_sequences_of_its_former_name() -> None:
    old = Ordered()
    old.send(0)
    new = Ordered(aliases=[old.name])
    new.send(1)
    assert Sequence.objects.get().last == 2


def test_receivers_of_a_foreign_signal_are_ordered_by_its_instance(
    connected: Any,
) -> None:
    calls: list[Any] = []

    def receiver(sender: object, instance: Effect, **kwargs: Any) -> None:
        calls.append(instance.what)

    name = f"tests.{uuid.uuid4().hex}"
    try:
        async_receiver(post_save, sender=Effect, ordered=True, name=name)(receiver)
        async_receiver(post_delete, sender=Effect, ordered=True, name=f"{name}_gone")(
            receiver
        )
        effect = Effect.objects.create(what="a")
        effect.save()
        key = f"testapp.effect:{effect.pk}"
        effect.delete()
    finally:
        post_save.disconnect(sender=Effect, dispatch_uid=name)
        post_delete.disconnect(sender=Effect, dispatch_uid=f"{name}_gone")
    assert keys() == [key, key]
    assert sorted(Sequence.objects.values_list("last", flat=True)) == [1, 2]
