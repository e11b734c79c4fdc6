"""One name is one receiver with one set of options."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from signal_tasks import AsyncSignal
from signal_tasks.registry.registry import registry
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen

pytestmark = pytest.mark.django_db


def module_receiver(sender: object, **kwargs: Any) -> None: ...


def names(signal: AsyncSignal) -> list[str]:
    return [each.receiver.name for each in signal.durable_connections]


def other_receiver(sender: object, **kwargs: Any) -> None: ...


def test_two_receivers_cannot_have_one_name(signal: AsyncSignal) -> None:
    signal.connect(module_receiver, name="t.taken")
    with pytest.raises(ImproperlyConfigured, match=r"taken by .*module_receiver"):
        signal.connect(other_receiver, name="t.taken")
    assert names(signal) == ["t.taken"]


def test_an_alias_that_is_taken_is_refused(signal: AsyncSignal) -> None:
    signal.connect(module_receiver, name="t.owner")
    with pytest.raises(ImproperlyConfigured, match=r"t\.owner"):
        signal.connect(other_receiver, name="t.new_owner", aliases=["t.owner"])


def test_a_name_may_be_taken_again_once_its_receiver_is_gone(
    signal: AsyncSignal,
) -> None:
    signal.connect(module_receiver, name="t.reused")
    signal.disconnect(module_receiver)
    signal.connect(other_receiver, name="t.reused")
    assert names(signal) == ["t.reused"]


def test_a_name_may_be_taken_again_once_its_signal_is_gone() -> None:
    first = AsyncSignal(name="t.local")
    listen(first, name="t.on_local")
    del first
    gc.collect()
    second = AsyncSignal(name="t.local")
    second.connect(module_receiver, name="t.on_local")
    assert names(second) == ["t.on_local"]


def test_a_receiver_may_hear_two_signals_under_one_name(signal: AsyncSignal) -> None:
    other = AsyncSignal(name="t.other_signal")
    signal.connect(module_receiver)
    other.connect(module_receiver)
    assert names(signal) == names(other)
    signal.disconnect(module_receiver)
    assert registry.receiver(names(other)[0]) is not None


def test_it_cannot_have_other_options_there(signal: AsyncSignal) -> None:
    other = AsyncSignal(name="t.other_options")
    signal.connect(module_receiver)
    with pytest.raises(ImproperlyConfigured, match="other options"):
        other.connect(module_receiver, atomic=False)
    with pytest.raises(ImproperlyConfigured, match="other options"):
        signal.connect(module_receiver, queue="elsewhere")


def test_it_can_under_another_name(signal: AsyncSignal) -> None:
    other = AsyncSignal(name="t.other_name")
    signal.connect(module_receiver)
    other.connect(module_receiver, name="t.outside", atomic=False)
    assert names(other) == ["t.outside"]


def test_a_connection_under_another_name_gives_the_former_name_free(
    signal: AsyncSignal,
) -> None:
    signal.connect(module_receiver, name="t.former")
    signal.connect(module_receiver, name="t.present")
    assert names(signal) == ["t.present"]
    assert registry.receiver("t.former") is None


def for_region(region: str, calls: list[str]) -> Callable[..., None]:
    @functools.wraps(module_receiver)
    def receiver(sender: object, **kwargs: Any) -> None:
        calls.append(region)

    return receiver


@pytest.mark.parametrize("where", ["one signal", "two signals"])
def test_two_wrappers_of_one_function_cannot_both_have_its_name(
    where: str, signal: AsyncSignal
) -> None:
    second = signal if where == "one signal" else AsyncSignal(name="t.of_us")
    signal.connect(for_region("eu", []), weak=False)
    with pytest.raises(ImproperlyConfigured, match=r"same code.*name="):
        second.connect(for_region("us", []), weak=False)


def test_two_wrappers_of_one_function_run_both_under_names_of_their_own(
    signal: AsyncSignal,
) -> None:
    calls: list[str] = []
    for region in ("eu", "us"):
        signal.connect(for_region(region, calls), name=f"t.{region}", weak=False)
    signal.send(sender=None)
    run_pending()
    assert sorted(calls) == ["eu", "us"]


def test_connecting_twice_is_connecting_once(signal: AsyncSignal) -> None:
    signal.connect(module_receiver)
    signal.connect(module_receiver)
    signal.connect(module_receiver, dispatch_uid="uid")
    signal.connect(module_receiver, dispatch_uid="uid")
    assert len(signal.durable_connections) == 2
    assert len(signal.send(sender=None)) == 2
