"""The names of receivers and signals: stable, or refused."""

from __future__ import annotations

import functools
import math
import sys
import types
from typing import Any

import pytest
from celery import current_app
from django.core.exceptions import ImproperlyConfigured

from signal_tasks import AsyncSignal, operations
from signal_tasks.delivery.message import process_message
from signal_tasks.models import Delivery
from signal_tasks.operations import Selection
from signal_tasks.registry.registry import registry
from tests.signal_tasks.conftest import listen

pytestmark = pytest.mark.django_db

module_signal = AsyncSignal()


def module_receiver(sender: object, **kwargs: Any) -> None: ...


class Listener:
    def method(self, sender: object, **kwargs: Any) -> None: ...

    @classmethod
    def of_class(cls, sender: object, **kwargs: Any) -> None: ...

    @staticmethod
    def of_nothing(sender: object, **kwargs: Any) -> None: ...

    def __call__(self, sender: object, **kwargs: Any) -> None: ...


class Sales(Listener):
    """Inherits its receiver."""


class Stock(Listener):
    """Inherits the same one."""


def names(signal: AsyncSignal) -> list[str]:
    return [each.receiver.name for each in signal.durable_connections]


def test_a_receiver_is_named_by_its_module_and_qualified_name(
    signal: AsyncSignal,
) -> None:
    signal.connect(module_receiver)
    assert names(signal) == [f"{__name__}.module_receiver"]


def test_a_static_method_and_a_class_method_have_names(signal: AsyncSignal) -> None:
    signal.connect(Listener.of_nothing)
    signal.connect(Listener.of_class)
    assert names(signal) == [
        f"{__name__}.Listener.of_nothing",
        f"{__name__}.Listener.of_class",
    ]


def test_an_inherited_class_method_is_named_by_the_class_it_is_called_on(
    signal: AsyncSignal,
) -> None:
    signal.connect(Sales.of_class)
    signal.connect(Stock.of_class)
    assert names(signal) == [
        f"{__name__}.{each}.of_class" for each in ("Sales", "Stock")
    ]
    assert len(signal.send(sender=None)) == 2


def test_a_class_method_of_a_local_class_is_refused(signal: AsyncSignal) -> None:
    class Local(Listener):
        """A class that no other process has."""

    with pytest.raises(ImproperlyConfigured, match="nested"):
        signal.connect(Local.of_class)


def test_a_string_dispatch_uid_is_the_name(signal: AsyncSignal) -> None:
    signal.connect(module_receiver, dispatch_uid="shop.restock")
    assert names(signal) == ["shop.restock"]


def test_a_dispatch_uid_that_is_not_a_string_is_no_name(signal: AsyncSignal) -> None:
    signal.connect(module_receiver, dispatch_uid=("a", 1))
    assert names(signal) == [f"{__name__}.module_receiver"]


def test_a_given_name_wins_over_a_dispatch_uid(signal: AsyncSignal) -> None:
    signal.connect(module_receiver, dispatch_uid="uid", name="the.name")
    assert names(signal) == ["the.name"]


def test_every_receiver_is_a_celery_task_of_its_name(signal: AsyncSignal) -> None:
    listen(signal, name="t.task_of_mine", rate_limit="10/m")
    task = current_app.tasks["t.task_of_mine"]
    assert task.rate_limit is None  # ours holds for all workers together
    assert task.ignore_result is True
    assert task.acks_late is True


def test_aliases_are_tasks_too_and_lead_to_the_receiver(signal: AsyncSignal) -> None:
    listen(signal, name="t.now", aliases=["t.once", "t.before"])
    for name in ("t.now", "t.once", "t.before"):
        known = registry.receiver(name)
        assert known is not None
        assert known.name == "t.now"
        assert name in current_app.tasks


def test_one_alias_may_be_given_as_a_string(signal: AsyncSignal) -> None:
    listen(signal, name="t.single", aliases="t.former")
    assert registry.receiver("t.former") is not None


# -- what cannot be named ---------------------------------------------------------


def nested() -> Any:
    def inner(sender: object, **kwargs: Any) -> None: ...

    return inner


UNNAMEABLE: dict[str, Any] = {
    "a lambda": lambda sender, **kwargs: None,
    "a nested function": nested(),
    "an instance method": Listener().method,
    "a partial": functools.partial(module_receiver, extra=1),
    "a callable object": Listener(),
}


@pytest.mark.parametrize("what", UNNAMEABLE)
def test_what_has_no_stable_name_is_refused_with_the_way_out(
    what: str, signal: AsyncSignal
) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"name=.*dispatch_uid.*inline=True"):
        signal.connect(UNNAMEABLE[what])
    assert not signal.has_listeners()


@pytest.mark.parametrize("what", UNNAMEABLE)
@pytest.mark.parametrize("how", ["name", "dispatch_uid"])
def test_it_is_accepted_with_a_name_or_a_dispatch_uid(
    what: str, how: str, signal: AsyncSignal
) -> None:
    name = f"t.{what}.{how}"
    options: dict[str, Any] = {how: name}
    signal.connect(UNNAMEABLE[what], weak=False, **options)
    assert names(signal) == [name]


@pytest.mark.parametrize("what", UNNAMEABLE)
def test_it_is_accepted_inline(what: str, signal: AsyncSignal) -> None:
    signal.connect(UNNAMEABLE[what], weak=False, inline=True)
    assert signal.has_listeners()
    assert not signal.durable_connections


def test_a_function_of_main_is_refused(signal: AsyncSignal) -> None:
    function = types.FunctionType(module_receiver.__code__, {})
    function.__module__ = "__main__"
    function.__qualname__ = "f"
    with pytest.raises(ImproperlyConfigured, match="__main__"):
        signal.connect(function)


@pytest.mark.parametrize("name", ["", "x" * 256, "a\0b", "a\nb", " a", "a ", 7])
def test_a_name_that_a_row_cannot_hold_is_refused(
    name: Any, signal: AsyncSignal
) -> None:
    with pytest.raises(ImproperlyConfigured, match="cannot be the name"):
        signal.connect(module_receiver, name=name)
    with pytest.raises(ImproperlyConfigured, match="cannot be the name"):
        AsyncSignal(name=name).connect(module_receiver)


# -- names of signals -------------------------------------------------------------


def test_a_signal_is_named_by_the_attribute_of_its_module() -> None:
    assert module_signal.name == f"{__name__}.module_signal"


def test_a_local_signal_without_a_name_is_refused_when_connected() -> None:
    local = AsyncSignal()
    with pytest.raises(ImproperlyConfigured, match=r"AsyncSignal\(name="):
        local.connect(module_receiver)
    assert not local.has_listeners()


def test_a_local_signal_without_a_name_may_have_inline_receivers() -> None:
    local = AsyncSignal()
    calls = listen(local, inline=True)
    local.send(sender=None, a=1)
    assert calls == [{"sender": None, "a": 1}]


def test_a_subclass_of_ours_finds_its_name_too() -> None:
    class Ours(AsyncSignal):
        def __init__(self) -> None:
            super().__init__(use_caching=True)

    module = types.ModuleType("tests_made_module")
    sys.modules["tests_made_module"] = module
    exec(
        "signal = Ours()", {"Ours": Ours, "__name__": "tests_made_module"}, vars(module)
    )
    try:
        assert module.signal.name == "tests_made_module.signal"
    finally:
        del sys.modules["tests_made_module"]


def test_a_partial_that_nobody_would_hold_is_refused(signal: AsyncSignal) -> None:
    partial = functools.partial(module_receiver, extra=1)
    with pytest.raises(ImproperlyConfigured, match="weak=False"):
        signal.connect(partial, name="t.weak_partial")
    assert registry.receiver("t.weak_partial") is None
    signal.connect(partial, name="t.weak_partial", weak=False)
    assert len(signal.send(sender=None)) == 1
    signal.connect(partial, inline=True)  # is left to Django, which holds it weakly


# -- names that a careless comparison takes for one ---------------------------------

ALIKE = {
    "case": ("t.app.Notify", "t.app.notify"),
    "accents": ("t.app.resume", "t.app.r\u00e9sum\u00e9"),
    "composed or not": ("t.app.r\u00e9", "t.app.re\u0301"),
    "emoji": ("t.app.\U0001f600", "t.app.\U0001f601"),
}


@pytest.mark.parametrize("what", ALIKE)
def test_names_that_look_alike_are_two_receivers(
    what: str, signal: AsyncSignal
) -> None:
    first, second = ALIKE[what]
    heard = {name: listen(signal, name=name) for name in (first, second)}
    signal.send(sender=None)
    assert list(rows(first)) == [first]
    process_message(first, [str(pk) for pk in pks()], "default", seconds=math.inf)
    assert [len(heard[name]) for name in (first, second)] == [1, 0]
    process_message(second, [str(pk) for pk in pks()], "default", seconds=math.inf)
    assert [len(heard[name]) for name in (first, second)] == [1, 1]


@pytest.mark.parametrize("what", ALIKE)
def test_names_that_look_alike_are_two_signals(what: str) -> None:
    signals = [AsyncSignal(name=name) for name in ALIKE[what]]
    for each in signals:
        listen(each)
        each.send(sender=None)
    for each in signals:
        assert operations.discard(Selection(signal=each.name)).work_off().done == 1


def rows(name: str) -> Any:
    found = Delivery.objects.filter(receiver=name)
    return found.values_list("receiver", flat=True)


def pks() -> Any:
    return Delivery.objects.values_list("pk", flat=True)
