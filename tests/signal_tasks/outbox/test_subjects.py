"""Each event knows the object that it is about."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.utils.functional import SimpleLazyObject

from signal_tasks import AsyncSignal, Snapshot, async_receiver
from signal_tasks.models import Event
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.dispatch.ways import every_way, ways
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _heard(signal: AsyncSignal) -> None:
    listen(signal)


@pytest.fixture
def thing() -> Thing:
    return Thing.objects.create(name="a thing")


def subject() -> str:
    return Event.objects.get().subject


def label(thing: Thing) -> str:
    return f"testapp.thing:{thing.pk}"


# -- by default -----------------------------------------------------------------------


def test_a_sender_that_is_a_row_is_the_subject(
    signal: AsyncSignal, thing: Thing
) -> None:
    another = Thing.objects.create(name="another")
    signal.send(sender=thing, another=another)
    assert subject() == label(thing)


@every_way
def test_the_only_row_among_the_arguments_is_the_subject(
    way: str, signal: AsyncSignal, thing: Thing
) -> None:
    ways(signal)[way](sender=Thing, n=5, thing=thing, text="x")
    assert subject() == label(thing)


def test_of_two_rows_none_is_the_subject(signal: AsyncSignal, thing: Thing) -> None:
    signal.send(sender=None, one=thing, other=Thing.objects.create(name="another"))
    assert subject() == ""


def test_one_row_in_two_arguments_is_the_subject(
    signal: AsyncSignal, thing: Thing
) -> None:
    signal.send(sender=None, one=thing, same=Thing.objects.get())
    assert subject() == label(thing)


def test_a_snapshot_is_about_its_row(signal: AsyncSignal, thing: Thing) -> None:
    signal.send(sender=None, thing=Snapshot(thing))
    assert subject() == label(thing)


def test_a_snapshot_of_what_is_not_saved_is_about_nothing(signal: AsyncSignal) -> None:
    signal.send(sender=None, thing=Snapshot(Thing(name="new")))
    assert subject() == ""


def test_a_lazy_row_is_the_subject(signal: AsyncSignal) -> None:
    user = User.objects.create(username="ada")
    signal.send(sender=None, user=SimpleLazyObject(lambda: User.objects.get()))
    assert subject() == f"auth.user:{user.pk}"


def test_nobody_who_is_logged_in_is_no_subject(
    signal: AsyncSignal, thing: Thing
) -> None:
    visitor = SimpleLazyObject(AnonymousUser)
    signal.send(sender=None, user=visitor, thing=thing)
    assert subject() == label(thing)


class Proxy(Thing):
    class Meta:
        proxy = True
        app_label = "testapp"


def test_a_proxy_is_about_the_row_of_its_model(
    signal: AsyncSignal, thing: Thing
) -> None:
    signal.send(sender=None, thing=Proxy.objects.get())
    assert subject() == label(thing)


@pytest.mark.parametrize("sender", [None, "a text", Thing, 5])
def test_without_a_row_there_is_no_subject(sender: Any, signal: AsyncSignal) -> None:
    signal.send(sender=sender, n=1, rows=[1, 2])
    assert subject() == ""


def test_each_of_many_events_has_its_own(signal: AsyncSignal) -> None:
    things = [Thing.objects.create(name=str(n)) for n in range(3)]
    items: list[dict[str, Any]] = [{"thing": thing} for thing in things]
    signal.send_many(sender=None, items=[*items, {"n": 1}])
    found = Event.objects.order_by("pk").values_list("subject", flat=True)
    assert list(found) == [*map(label, things), ""]


# -- of foreign signals -----------------------------------------------------------------


def hear(sender: object, **kwargs: Any) -> None:
    pass


@pytest.fixture
def uid() -> Any:
    uid = f"t.hears_{uuid.uuid4().hex}"
    yield uid
    post_save.disconnect(sender=Thing, dispatch_uid=uid)
    post_delete.disconnect(sender=Thing, dispatch_uid=uid)
    m2m_changed.disconnect(sender=User.groups.through, dispatch_uid=uid)


def test_what_was_saved_is_the_subject(uid: str) -> None:
    async_receiver(post_save, sender=Thing, dispatch_uid=uid)(hear)
    thing = Thing.objects.create(name="saved")
    assert subject() == label(thing)


def test_what_was_deleted_is_the_subject(uid: str, thing: Thing) -> None:
    async_receiver(post_delete, sender=Thing, dispatch_uid=uid)(hear)
    expected = label(thing)
    thing.delete()
    assert subject() == expected


def test_whose_relations_changed_is_the_subject(uid: str) -> None:
    through = User.groups.through
    user, group = User.objects.create(username="ada"), Group.objects.create(name="g")
    async_receiver(m2m_changed, sender=through, dispatch_uid=uid)(hear)
    user.groups.add(group)
    found = set(Event.objects.values_list("subject", flat=True))
    assert found == {f"auth.user:{user.pk}"}


# -- as it is given -------------------------------------------------------------------


def test_a_row_may_be_given(signal: AsyncSignal, thing: Thing) -> None:
    another = Thing.objects.create(name="another")
    signal.using(subject=thing).send(sender=another)
    assert subject() == label(thing)


@pytest.mark.parametrize(
    "text", ["order 5", 'a "quoted", {odd} \\ %s text', "ä" * 255, ""]
)
@pytest.mark.parametrize("many", [1, 3])
def test_a_text_may_be_given(
    text: str, many: int, signal: AsyncSignal, thing: Thing
) -> None:
    signal.using(subject=text).send_many(sender=thing, items=[{}] * many)
    assert set(Event.objects.values_list("subject", flat=True)) == {text}


def test_a_subject_that_is_too_long_is_refused_by_name(signal: AsyncSignal) -> None:
    with pytest.raises(ValueError, match=r"subject 'xxx.* 256 characters; .* 255"):
        signal.using(subject="x" * 256)


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "a\nb", "a ", " a"])
def test_a_subject_that_cannot_be_stored_or_shown_as_it_is_is_refused(
    text: str, signal: AsyncSignal
) -> None:
    with pytest.raises(ValueError, match="subject"):
        signal.using(subject=text)


def test_a_row_that_is_not_saved_is_refused(signal: AsyncSignal) -> None:
    with pytest.raises(ValueError, match="save it first"):
        signal.using(subject=Thing(name="new"))


@pytest.mark.parametrize("wrong", [5, Thing, ["a"], b"a"])
def test_anything_else_is_refused(wrong: Any, signal: AsyncSignal) -> None:
    with pytest.raises(TypeError, match="subject"):
        signal.using(subject=wrong)
