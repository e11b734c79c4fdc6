"""``SIGNAL_TASKS["CONTEXT"]``: what is around a sender is around its receivers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import InterfaceError, transaction

from signal_tasks import AsyncSignal, Retry, RetryPolicy, current_delivery
from signal_tasks.context import hooks
from signal_tasks.models import Attempt, Delivery, Event
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.delivery.steps import atomic_or_not, connect, run, send
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db

color: ContextVar[str | None] = ContextVar("color", default=None)
captures: list[str | None] = []
#: What ``restore`` raises instead of restoring.
refusals: dict[str, Exception] = {}


class Color:
    """Carries a colour."""

    name = "color"

    def capture(self) -> str | None:
        captures.append(color.get())
        return color.get()

    @contextmanager
    def restore(self, value: str) -> Iterator[None]:
        if value in refusals:
            raise refusals[value]
        token = color.set(value)
        try:
            yield
        finally:
            color.reset(token)


class Shade:
    """Carries what the colour before it has set."""

    name = "shade"

    def capture(self) -> dict[str, Any]:
        return {"of": color.get()}

    @contextmanager
    def restore(self, value: dict[str, Any]) -> Iterator[None]:
        assert color.get() == value["of"]
        yield


class Shop:
    """Carries a tenant of the project's own: the colour is its name."""

    name = "shop"
    carries_schemas = True

    def capture(self) -> str | None:
        return color.get()

    @contextmanager
    def restore(self, value: str) -> Iterator[None]:
        yield


class Nameless:
    def capture(self) -> None: ...

    def restore(self, value: object) -> None: ...


class Unfit:
    """Captures what no row can hold."""

    name = "unfit"

    def capture(self) -> object:
        return object()

    def restore(self, value: object) -> None: ...


@contextmanager
def colored(value: str) -> Iterator[None]:
    token = color.set(value)
    try:
        yield
    finally:
        color.reset(token)


@pytest.fixture
def carried(settings: Any) -> Callable[..., None]:
    """Name the hooks of this module that the project has."""

    def carry(*classes: type) -> None:
        paths = [f"{__name__}.{each.__name__}" for each in classes]
        settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "CONTEXT": paths}

    captures.clear()
    refusals.clear()
    return carry


@atomic_or_not
def test_a_receiver_runs_in_the_context_of_its_sender(
    atomic: bool, signal: AsyncSignal, carried: Any
) -> None:
    carried(Color)
    seen = []

    def look(sender: object, **kwargs: Any) -> None:
        seen.append(color.get())

    connect(signal, look, atomic=atomic)
    for each in ("red", "blue"):
        with colored(each):
            signal.send(sender=None)
    signal.send(sender=None)
    run_pending()
    assert seen == ["red", "blue", None]
    assert color.get() is None


def test_an_async_receiver_does_too(signal: AsyncSignal, carried: Any) -> None:
    carried(Color)
    seen = []

    async def look(sender: object, **kwargs: Any) -> None:
        seen.append(color.get())

    connect(signal, look)
    with colored("red"):
        signal.send(sender=None)
    run_pending()
    assert seen == ["red"]


def test_values_are_decoded_in_that_context(
    signal: AsyncSignal, carried: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried(Color)
    seen = []
    from_db = Thing.from_db

    def look(*args: Any) -> Thing:
        seen.append(color.get())
        return from_db(*args)

    listen(signal)
    thing = Thing.objects.create(name="one")
    with colored("red"):
        signal.send(sender=None, thing=thing)
    monkeypatch.setattr(Thing, "from_db", look)
    run_pending()
    assert seen == ["red"]


def test_many_events_of_one_send_share_one_capture(
    signal: AsyncSignal, carried: Any
) -> None:
    carried(Color)
    listen(signal)
    with colored("red"):
        signal.send_many(sender=None, items=[{"n": n} for n in range(5)])
    assert captures == ["red"]
    assert {event.context_mapping()["color"] for event in Event.objects.all()} == {
        "red"
    }


def test_a_send_that_nobody_hears_captures_nothing(
    signal: AsyncSignal, carried: Any
) -> None:
    carried(Color)
    listen(signal, inline=True)
    signal.send(sender=None)
    assert captures == []


def test_what_a_receiver_sends_is_sent_in_that_context(
    signal: AsyncSignal, carried: Any
) -> None:
    carried(Color)
    seen = []

    def send_on(sender: object, further: bool, **kwargs: Any) -> None:
        seen.append(color.get())
        if further:
            signal.send(sender=None, further=False)

    connect(signal, send_on)
    with colored("red"):
        signal.send(sender=None, further=True)
    run_pending()
    assert seen == ["red", "red"]


@pytest.mark.parametrize("headers", [None, {}, {"trace": "abc"}, {"color": "mine"}])
def test_headers_are_exactly_those_that_were_given(
    headers: dict[str, Any] | None, signal: AsyncSignal, carried: Any
) -> None:
    carried(Color)
    seen = []

    def look(sender: object, **kwargs: Any) -> None:
        seen.append(current_delivery().headers)

    connect(signal, look)
    with colored("red"):
        signal.using(headers=headers).send(sender=None)
    event = Event.objects.get()
    run_pending()
    assert seen == [headers or {}]
    assert event.header_mapping() == (headers or {})
    assert event.context_mapping() == {"color": "red"}


def test_without_a_value_nothing_is_stored(signal: AsyncSignal, carried: Any) -> None:
    carried(Color)
    listen(signal)
    signal.send(sender=None)
    assert Event.objects.get().headers == ""


def test_hooks_are_entered_in_the_order_of_the_setting(
    signal: AsyncSignal, carried: Any
) -> None:
    carried(Color, Shade)
    calls = listen(signal)
    with colored("red"):
        signal.send(sender=None)
    run_pending()
    assert len(calls) == 1


@atomic_or_not
@pytest.mark.parametrize("error", [LookupError("no such tenant"), ValueError("what?")])
def test_a_value_that_cannot_be_restored_parks_its_delivery_alone(
    error: Exception, atomic: bool, signal: AsyncSignal, carried: Any
) -> None:
    carried(Color)
    seen = []

    def look(sender: object, **kwargs: Any) -> None:
        seen.append(color.get())

    connect(signal, look, atomic=atomic)
    for each in ("red", "gone", "blue"):
        with colored(each):
            signal.send(sender=None)
    refusals["gone"] = error
    run_pending()
    assert seen == ["red", "blue"]
    parked = Delivery.objects.get(state="dead")
    assert parked.reason == "undecodable"
    told = Attempt.objects.get().error
    assert "context 'color' cannot be restored" in told
    assert str(error) in told


def test_it_runs_when_it_is_replayed_to_a_worker_that_can(
    signal: AsyncSignal, carried: Any
) -> None:
    carried(Color)
    calls = listen(signal)
    refusals["red"] = LookupError("not yet")
    with colored("red"):
        handle = send(signal)
    assert run(handle).state == "dead"
    refusals.clear()
    Delivery.objects.replay()
    assert run(handle).state == "succeeded"
    assert len(calls) == 1


def test_a_worker_without_the_hook_does_not_run_it(
    signal: AsyncSignal, carried: Any
) -> None:
    carried(Color)
    calls = listen(signal)
    with colored("red"):
        handle = send(signal)
    carried()
    assert run(handle).reason == "undecodable"
    assert "restores no context 'color'" in Attempt.objects.get().error
    assert calls == []


@pytest.mark.parametrize(
    "error", [Retry("later", after=60), InterfaceError("the connection is closed")]
)
def test_a_hook_may_ask_for_another_attempt(
    error: Exception, signal: AsyncSignal, carried: Any
) -> None:
    carried(Color)
    listen(signal, retry=RetryPolicy(backoff=60, jitter=False), atomic=False)
    with colored("red"):
        handle = send(signal)
    refusals["red"] = error
    assert run(handle).state == "pending"


def test_a_capture_that_fails_writes_nothing(signal: AsyncSignal, carried: Any) -> None:
    carried(Unfit)
    listen(signal)
    with transaction.atomic():
        with pytest.raises(TypeError, match=r"'unfit' cannot travel; capture\(\)"):
            signal.send(sender=None)
        Thing.objects.create(name="kept")
    assert Thing.objects.exists()
    assert not Event.objects.exists()


@pytest.mark.parametrize(
    ("paths", "problem"),
    [
        ([f"{__name__}.Nowhere"], "Nowhere"),
        (["nowhere.Hook"], "nowhere"),
        ([f"{__name__}.Nameless"], "needs a name"),
        ([f"{__name__}.Color", f"{__name__}.Color"], "share a name"),
    ],
)
def test_a_path_that_leads_to_no_hook_is_an_error(
    paths: list[str], problem: str, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {"CONTEXT": paths}
    with pytest.raises(ImproperlyConfigured, match=problem):
        hooks()


def test_keys_are_those_of_a_tenant_and_of_no_other_context(
    signal: AsyncSignal, carried: Any
) -> None:
    calls = listen(signal)

    def send_each_twice(hook: type) -> int:
        carried(hook)
        calls.clear()
        for value in ("red", "blue", "red", "blue"):
            with colored(value):
                signal.using(dedupe_key=hook.__name__).send(sender=None)
        signal.using(dedupe_key=hook.__name__).send(sender=None)
        run_pending()
        return len(calls)

    assert send_each_twice(Shop) == 3  # red, blue and none
    assert send_each_twice(Color) == 1
