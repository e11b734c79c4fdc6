"""The chain of causes: how long it may be, and what repeats in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.utils import timezone

from signal_tasks import AsyncSignal, SignalLoop, async_receiver, checks
from signal_tasks.error_text import MAX_CHARS
from signal_tasks.models import Attempt, Delivery, Event, FailureGroup
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db


@pytest.fixture
def _depth_of_three(settings: Any) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "MAX_DEPTH": 3}


@pytest.fixture
def saved() -> Iterator[Any]:
    """Connect to a signal of Django for this test only."""
    done: list[tuple[Any, Any, str]] = []

    def connect(signal: Any, sender: Any, receiver: Any, **options: Any) -> None:
        name = f"tests.loops.{receiver.__name__}"
        async_receiver(signal, sender=sender, name=name, **options)(receiver)
        done.append((signal, sender, name))

    yield connect
    for signal, sender, name in done:
        signal.disconnect(sender=sender, dispatch_uid=name)


def last_error() -> str:
    (failure,) = Attempt.objects.filter(consequence="dead")
    return failure.error


def session(key: str) -> Session:
    """Make a row whose primary key is a text."""
    made: Session = Session.objects.create(pk=key, expire_date=timezone.now())
    return made


def send_on(signal: AsyncSignal, name: str = "tests.loops.again") -> list[int]:
    """Connect a receiver that sends the signal it is called for, for ever."""
    calls: list[int] = []

    def again(sender: object, n: int, **kwargs: Any) -> None:
        calls.append(n)
        signal.send(sender=None, n=n + 1)

    signal.connect(again, name=name, weak=False)
    return calls


# -- depth ------------------------------------------------------------------------


@pytest.mark.usefixtures("_depth_of_three")
def test_an_event_too_many_causes_deep_is_refused_in_the_receiver_that_sends_it(
    signal: AsyncSignal,
) -> None:
    calls = send_on(signal)
    signal.send(sender=None, n=0)
    run_pending()
    assert calls == [0, 1, 2, 3]
    states = list(Delivery.objects.order_by("pk").values_list("state", "reason"))
    assert states == [("succeeded", "")] * 3 + [("dead", "rejected")]
    assert "SIGNAL_TASKS['MAX_DEPTH'] allows no more" in last_error()
    step = f"{signal.name} -> tests.loops.again"
    assert f"The chain of causes: {step}; {step}; {step}; {step};" in last_error()


def test_the_causes_that_go_round_are_told_before_a_text_is_cut(
    signal: AsyncSignal,
) -> None:
    """A page shows the first 500 characters, and a long chain has thousands."""
    send_on(signal, name=f"tests.loops.{'again' * 20}")
    signal.send(sender=None, n=0)
    run_pending()
    step = f"{signal.name} -> tests.loops.{'again' * 20}"
    told = f"The end of its chain of causes: {step}; {signal.name}. If they go round"
    assert told in last_error()[:500]
    assert len(last_error()) == MAX_CHARS


def test_a_chain_that_only_grows_tells_its_last_causes(settings: Any) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "MAX_DEPTH": 4}
    names = [f"tests.loops.row_{number}" for number in range(6)]
    row = [AsyncSignal(name=name) for name in names]

    def passing_on(after: AsyncSignal) -> Callable[..., object]:
        return lambda sender, **kwargs: after.send(sender=None)

    for each, after in pairwise(row):
        each.connect(passing_on(after), name=f"{each.name}.ears", weak=False)
    listen(row[-1], name="tests.loops.last")
    row[0].send(sender=None)
    run_pending()
    last = "; ".join(f"{name} -> {name}.ears" for name in names[2:5])
    assert f"The end of its chain of causes: {last}; {names[5]}." in last_error()


def test_the_bound_is_sixteen_causes_by_default(signal: AsyncSignal) -> None:
    calls = send_on(signal)
    signal.send(sender=None, n=0)
    run_pending()
    assert calls == list(range(17))


@pytest.mark.usefixtures("_depth_of_three")
def test_the_error_says_what_was_sent_and_by_which_chain(signal: AsyncSignal) -> None:
    caught: list[SignalLoop] = []
    other = AsyncSignal(name=f"{signal.name}.other")
    inline = listen(other, inline=True)
    listen(other)

    def again(sender: object, thing: Thing, **kwargs: Any) -> None:
        signal.send(sender=None, thing=thing)

    def end(sender: object, **kwargs: Any) -> None:
        try:
            other.send(sender=None)
        except SignalLoop as error:
            caught.append(error)

    signal.connect(again, name="tests.loops.round", weak=False)
    signal.connect(end, name="tests.loops.end", weak=False)
    thing = Thing.objects.create(name="x")
    signal.send(sender=None, thing=thing)
    run_pending()
    (error,) = caught
    assert error.signal == other.name
    about = (signal.name, "tests.loops.round", f"testapp.thing:{thing.pk}")
    assert error.chain[:-1] == (about,) * 3
    assert error.chain[-1].receiver == "tests.loops.end"
    assert len(inline) == 3  # of the deliveries before
    assert Event.objects.filter(signal=other.name).count() == 3


@pytest.mark.usefixtures("_depth_of_three")
def test_a_long_row_of_sends_in_one_receiver_is_no_chain(signal: AsyncSignal) -> None:
    other = AsyncSignal(name=f"{signal.name}.other")
    calls = listen(other)

    def spread(sender: object, **kwargs: Any) -> None:
        for n in range(20):
            other.send(sender=None, n=n)

    signal.connect(spread, name="tests.loops.spread", weak=False)
    signal.send(sender=None)
    run_pending()
    assert len(calls) == 20


@pytest.mark.usefixtures("_depth_of_three")
def test_a_replay_does_not_lengthen_the_chain(signal: AsyncSignal) -> None:
    calls = send_on(signal)
    signal.send(sender=None, n=0)
    run_pending()
    headers = list(Event.objects.order_by("pk").values_list("headers", flat=True))
    for _ in range(3):
        Delivery.objects.dead().replay()
        run_pending()
    assert calls == [0, 1, 2, *[3] * 4]
    assert list(Event.objects.order_by("pk").values_list("headers", flat=True)) == (
        headers
    )


@pytest.mark.usefixtures("_depth_of_three")
def test_loops_of_different_objects_are_failures_of_one_cause(
    signal: AsyncSignal,
) -> None:
    def again(sender: object, session: Session, **kwargs: Any) -> None:
        signal.send(sender=None, session=session)

    signal.connect(again, name="tests.loops.again", weak=False)
    for key in ("first key", "another"):
        signal.send(sender=None, session=session(key))
    run_pending()
    group = FailureGroup.objects.get()
    assert group.failures == 2
    assert "first key" in group.sample


# -- what is stored ---------------------------------------------------------------


def test_a_send_without_a_cause_stores_what_it_did_before(signal: AsyncSignal) -> None:
    listen(signal)
    signal.send(sender=None)
    signal.using(headers={"a": 1}).send(sender=None)
    assert list(Event.objects.order_by("pk").values_list("headers", flat=True)) == [
        "",
        '{"a": 1}',
    ]


def test_a_send_with_a_cause_stores_the_chain_beside_its_headers(
    signal: AsyncSignal,
) -> None:
    other = AsyncSignal(name=f"{signal.name}.other")
    listen(other)

    def go_on(sender: object, **kwargs: Any) -> None:
        other.using(headers={"a": 1}).send(sender=None)

    signal.connect(go_on, name="tests.loops.go_on", weak=False)
    thing = Thing.objects.create(name="x")
    signal.send(sender=thing)
    run_pending()
    event = Event.objects.get(signal=other.name)
    step = [signal.name, "tests.loops.go_on", f"testapp.thing:{thing.pk}"]
    chain = {"correlation_id": str(Event.objects.get(signal=signal.name).pk)}
    stored = {"signal_tasks.causes": [step], **chain}
    assert json.loads(event.headers) == [{"a": 1}, stored]
    assert event.header_mapping() == {"a": 1}
    assert event.context_mapping() == chain
    call_command("signal_tasks", "inspect", str(event.pk))


@pytest.mark.parametrize("depth", [0, -1, "16", True])
def test_a_depth_that_makes_no_sense_is_an_error_of_check(
    depth: Any, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {"MAX_DEPTH": depth}
    (error,) = checks.project.settings_are_valid()
    assert "MAX_DEPTH" in error.msg


# -- receivers that save what they are called for ---------------------------------


def test_a_receiver_that_saves_its_own_instance_is_caught_at_the_first_repetition(
    saved: Any,
) -> None:
    calls: list[str] = []

    def rename(sender: object, instance: Thing, **kwargs: Any) -> None:
        calls.append(instance.name)
        instance.name += "x"
        instance.save()

    saved(post_save, Thing, rename)
    thing = Thing.objects.create(name="x")
    run_pending()
    assert calls == ["x"]
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.reason) == ("dead", "rejected")
    thing.refresh_from_db()
    assert thing.name == "x"
    error = last_error()
    about = f"testapp.thing:{thing.pk}"
    assert "tests.loops.rename would be called for the same object once more" in error
    assert f"post_save of {about} -> tests.loops.rename" in error
    for way in ("queryset.update()", "when=", "update_fields=", "exclude"):
        assert way in error


def test_repetitions_of_different_objects_are_failures_of_one_cause(saved: Any) -> None:
    def save(sender: object, instance: Session, **kwargs: Any) -> None:
        instance.save()

    saved(post_save, Session, save)
    for key in ("first key", "another"):
        session(key)
    run_pending()
    group = FailureGroup.objects.get()
    assert group.failures == 2
    assert "post_save of sessions.session:first key -> tests.loops.save" in group.sample


def test_a_loop_through_another_receiver_is_caught_when_it_closes(saved: Any) -> None:
    """The first saves another object, whose receiver saves the first one again."""
    calls: list[str] = []

    def to_group(sender: object, instance: User, **kwargs: Any) -> None:
        calls.append("user")
        Group.objects.get().save()

    def to_user(sender: object, instance: Group, **kwargs: Any) -> None:
        calls.append("group")
        User.objects.get().save()

    Group.objects.create(name="g")
    saved(post_save, User, to_group)
    saved(post_save, Group, to_user)
    User.objects.create(username="u")
    run_pending()
    assert calls == ["user", "group"]
    assert "tests.loops.to_group would be called" in last_error()
    assert "tests.loops.to_user" in last_error()


def test_a_receiver_of_m2m_changed_that_changes_it_is_caught(saved: Any) -> None:
    calls: list[str] = []

    def tidy(sender: object, instance: User, action: str, **kwargs: Any) -> None:
        calls.append(action)
        instance.groups.add(Group.objects.create(name=str(len(calls))))

    user = User.objects.create(username="u")
    group = Group.objects.create(name="g")
    saved(m2m_changed, User.groups.through, tidy, exclude=["model"])
    user.groups.add(group)
    run_pending()
    assert set(Delivery.objects.values_list("reason", flat=True)) == {"rejected"}
    assert len(calls) == 2  # pre_add and post_add of the first


WAYS_OUT: dict[str, Any] = {
    "update": lambda thing: Thing.objects.filter(pk=thing.pk).update(name="done"),
    "update_fields": lambda thing: thing.save(update_fields=["name"]),
    "when": lambda thing: thing.save(),
    "another": lambda thing: Thing.objects.create(name="done"),
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_the_ways_out_lead_out(way: str, saved: Any) -> None:
    calls: list[str] = []

    def finish(sender: object, instance: Thing, **kwargs: Any) -> None:
        calls.append(instance.name)
        instance.name = "done"
        WAYS_OUT[way](instance)

    def is_open(
        sender: object, instance: Thing, update_fields: Any = None, **kwargs: Any
    ) -> bool:
        return instance.name != "done" and update_fields is None

    saved(post_save, Thing, finish, when=is_open)
    Thing.objects.create(name="new")
    run_pending()
    assert calls == ["new"]
    assert not Delivery.objects.dead().exists()


def test_saving_again_outside_of_the_receiver_is_no_loop(saved: Any) -> None:
    calls = []

    def note(sender: object, instance: Thing, **kwargs: Any) -> None:
        calls.append(instance.name)

    saved(post_save, Thing, note)
    thing = Thing.objects.create(name="x")
    for _ in range(20):
        run_pending()
        thing.save()
    run_pending()
    assert len(calls) == 21


def test_another_receiver_of_the_same_object_is_no_loop(saved: Any) -> None:
    """Each of them saves once, and hears only of its own kind of change."""
    calls = []

    def is_new(sender: object, instance: Thing, created: bool, **_: Any) -> bool:
        return created

    def first(sender: object, instance: Thing, **kwargs: Any) -> None:
        instance.save()

    def second(sender: object, instance: Thing, created: bool, **kwargs: Any) -> None:
        calls.append(created)

    saved(post_save, Thing, first, when=is_new)
    saved(post_save, Thing, second)
    Thing.objects.create(name="x")
    run_pending()
    assert calls == [True, False]


def test_deleting_others_of_the_kind_is_no_loop(saved: Any) -> None:
    def delete_next(sender: object, instance: Thing, **kwargs: Any) -> None:
        Thing.objects.order_by("pk")[:1].get().delete()

    saved(post_delete, Thing, delete_next, exclude=["origin"])
    first, *_ = (Thing.objects.create(name="x") for _ in range(4))
    first.delete()
    run_pending()
    assert not Thing.objects.exists()
    assert Delivery.objects.filter(state="succeeded").count() == 3


def test_no_other_error_is_raised_when_nothing_can_be_told_apart(saved: Any) -> None:
    """Without its instance an event has no subject; the bound on the depth is left."""
    calls = []

    def more(sender: object, **kwargs: Any) -> None:
        calls.append(1)
        Thing.objects.create(name="x")

    saved(post_save, Thing, more, exclude=["instance"])
    Thing.objects.create(name="x")
    run_pending()
    assert len(calls) == 17
    assert "MAX_DEPTH" in last_error()
