"""Connecting receivers: names, refusals, options, weak references, senders."""

from __future__ import annotations

import functools
import gc
import importlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.core.exceptions import ImproperlyConfigured
from django.dispatch import receiver

from signal_tasks import AsyncSignal, RetryPolicy
from signal_tasks.registry import registry
from tests.signal_tasks.conftest import listen
from tests.testapp.models import Thing

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


def names(signal: AsyncSignal) -> list[str]:
    return [each.receiver.name for each in signal.durable_connections]


# -- names of receivers -----------------------------------------------------------


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


def test_a_string_dispatch_uid_is_the_name(signal: AsyncSignal) -> None:
    signal.connect(module_receiver, dispatch_uid="shop.restock")
    assert names(signal) == ["shop.restock"]


def test_a_dispatch_uid_that_is_not_a_string_is_no_name(signal: AsyncSignal) -> None:
    signal.connect(module_receiver, dispatch_uid=("a", 1))
    assert names(signal) == [f"{__name__}.module_receiver"]


def test_a_given_name_wins_over_a_dispatch_uid(signal: AsyncSignal) -> None:
    signal.connect(module_receiver, dispatch_uid="uid", name="the.name")
    assert names(signal) == ["the.name"]


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


def test_every_receiver_is_a_celery_task_of_its_name(signal: AsyncSignal) -> None:
    listen(signal, name="t.task_of_mine", rate_limit="10/m")
    task = current_app.tasks["t.task_of_mine"]
    assert task.rate_limit == "10/m"
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


@pytest.mark.parametrize("name", ["", "x" * 256, "a\0b", "a\nb", 7])
def test_a_name_that_a_row_cannot_hold_is_refused(
    name: Any, signal: AsyncSignal
) -> None:
    with pytest.raises(ImproperlyConfigured, match="cannot be the name"):
        signal.connect(module_receiver, name=name)
    with pytest.raises(ImproperlyConfigured, match="cannot be the name"):
        AsyncSignal(name=name).connect(module_receiver)


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


# -- options ----------------------------------------------------------------------

WRONG: dict[str, Any] = {
    "on_missing": "explode",
    "timeout": 0,
    "retry": 3,
    "queue": "",
    "rate_limit": "often",
    "atomic": "yes",
    "group_commit": None,
    "when": "always",
}


@pytest.mark.parametrize("option", WRONG)
def test_an_option_that_makes_no_sense_is_refused(
    option: str, signal: AsyncSignal
) -> None:
    with pytest.raises(ImproperlyConfigured, match=option):
        signal.connect(module_receiver, **{option: WRONG[option]})
    assert not signal.has_listeners()


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), "30", True])
def test_a_timeout_is_a_positive_number(timeout: Any, signal: AsyncSignal) -> None:
    with pytest.raises(ImproperlyConfigured, match="positive number of seconds"):
        signal.connect(module_receiver, timeout=timeout)


@pytest.mark.parametrize("rate", [10, "10", "10/s", "0.5/m", "2/h"])
def test_a_rate_limit_is_what_celery_takes(rate: Any, signal: AsyncSignal) -> None:
    assert listen(signal, rate_limit=rate) == []


def test_an_unknown_option_is_a_type_error(signal: AsyncSignal) -> None:
    with pytest.raises(TypeError, match="prioritty"):
        signal.connect(module_receiver, prioritty=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("option", ["key", "dedupe_key", "priority"])
def test_an_option_of_the_future_is_not_accepted_in_silence(
    option: str, signal: AsyncSignal
) -> None:
    unknown: dict[str, Any] = {option: 1}
    with pytest.raises(TypeError):
        signal.connect(module_receiver, **unknown)
    with pytest.raises(TypeError):
        signal.using(**unknown)


@pytest.mark.parametrize(
    "option", [{"queue": "email"}, {"atomic": False}, {"name": "n"}, {"timeout": 3}]
)
def test_an_inline_receiver_with_an_option_of_durable_ones_is_refused(
    option: dict[str, Any], signal: AsyncSignal
) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"{next(iter(option))} would mean"):
        signal.connect(module_receiver, inline=True, **option)


def test_an_inline_receiver_may_be_given_every_default(signal: AsyncSignal) -> None:
    signal.connect(
        module_receiver,
        inline=True,
        name=None,
        aliases=(),
        queue=None,
        atomic=True,
        retry=None,
        timeout=None,
        rate_limit=None,
        on_missing="reject",
        when=None,
        group_commit=True,
    )
    assert signal.has_listeners()


# -- conflicts --------------------------------------------------------------------


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


def test_connecting_twice_is_connecting_once(signal: AsyncSignal) -> None:
    signal.connect(module_receiver)
    signal.connect(module_receiver)
    signal.connect(module_receiver, dispatch_uid="uid")
    signal.connect(module_receiver, dispatch_uid="uid")
    assert len(signal.durable_connections) == 2
    assert len(signal.send(sender=None)) == 2


# -- weak references and reloads --------------------------------------------------


def test_a_receiver_that_nobody_holds_is_forgotten(signal: AsyncSignal) -> None:
    def local(sender: object, **kwargs: Any) -> None: ...

    signal.connect(local, name="t.local_function")
    assert signal.has_listeners()
    del local
    assert not signal.has_listeners()
    assert signal.send(sender=None) == []
    assert registry.receiver("t.local_function") is None


def test_it_is_kept_when_connected_strongly(signal: AsyncSignal) -> None:
    listen(signal, name="t.kept")  # connects with weak=False
    gc.collect()
    assert len(signal.send(sender=None)) == 1


def test_a_method_is_forgotten_with_its_object(signal: AsyncSignal) -> None:
    listener = Listener()
    signal.connect(listener.method, name="t.method")
    assert len(signal.send(sender=None)) == 1
    del listener
    assert signal.send(sender=None) == []


@pytest.fixture
def reloadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    source = (
        "from django.dispatch import receiver\n"
        "from tests.signal_tasks.test_connecting import module_signal\n"
        "@receiver(module_signal, **OPTIONS)\n"
        "def reloaded(sender, **kwargs): ...\n"
    )
    path = tmp_path / "reloadable_receivers.py"
    monkeypatch.syspath_prepend(tmp_path)

    def load(options: str) -> Any:
        path.write_text(source.replace("OPTIONS", options))
        importlib.invalidate_caches()
        known = sys.modules.get("reloadable_receivers")
        if known is None:
            return importlib.import_module("reloadable_receivers")
        return importlib.reload(known)

    yield load
    sys.modules.pop("reloadable_receivers", None)
    for connection in module_signal.durable_connections:
        module_signal.disconnect(connection.receiver.function())
        module_signal.disconnect(dispatch_uid="t.uid")


@pytest.mark.parametrize("options", ["{}", "{'dispatch_uid': 't.uid'}"])
def test_a_reloaded_module_replaces_its_receiver(reloadable: Any, options: str) -> None:
    reloadable(options)
    module = reloadable(options)
    (connection,) = module_signal.durable_connections
    assert connection.receiver.function() is module.reloaded


def test_a_reloaded_module_may_bring_other_options(reloadable: Any) -> None:
    reloadable("{}")
    reloadable("{'atomic':  False}")
    (connection,) = module_signal.durable_connections
    assert connection.receiver.options.atomic is False
    module_signal.disconnect(connection.receiver.function())
    assert registry.receiver(connection.receiver.name) is None


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
