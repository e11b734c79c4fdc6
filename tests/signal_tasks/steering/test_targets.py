"""Targets: what a caller may name, and the text that is stored for it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models.signals import post_save
from django.dispatch import Signal

from signal_tasks import AsyncSignal, async_receiver
from signal_tasks.steering.targets import resolve
from tests.signal_tasks.conftest import listen
from tests.testapp.models import Thing


def steered(sender: object, **kwargs: Any) -> None:
    """Do nothing."""


@pytest.fixture
def named(signal: AsyncSignal) -> AsyncSignal:
    signal.connect(steered, name="t.now", aliases=["t.before"], queue="mail")
    return signal


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize(
    ("target", "stored"),
    [
        ("*", "*"),
        (steered, "receiver:t.now"),
        ("t.now", "receiver:t.now"),
        ("t.before", "receiver:t.now"),
        ("receiver:t.before", "receiver:t.now"),
        ("receiver:known.elsewhere", "receiver:known.elsewhere"),
        ("mail", "queue:mail"),
        ("queue:anything", "queue:anything"),
        ("signal:known.elsewhere", "signal:known.elsewhere"),
    ],
)
def test_a_target_is_stored_as_one_text(target: object, stored: str) -> None:
    assert resolve(target) == stored


def test_a_signal_and_its_names_are_one_target() -> None:
    signal = AsyncSignal(name="tests.now", aliases=["tests.before"])
    listen(signal)
    wanted = [signal, "tests.now", "tests.before", "signal:tests.before"]
    assert {resolve(each) for each in wanted} == {"signal:tests.now"}


def test_a_signal_that_nobody_listens_to_here_is_a_target(signal: AsyncSignal) -> None:
    assert resolve(signal) == f"signal:{signal.name}"


def test_a_signal_of_django_is_a_target() -> None:
    @async_receiver(post_save, sender=Thing, name="t.of_django", weak=False)
    def saved(sender: object, **kwargs: Any) -> None: ...

    try:
        assert resolve(post_save) == "signal:django.db.models.signals.post_save"
        assert resolve(saved) == "receiver:t.of_django"
    finally:
        post_save.disconnect(saved, sender=Thing)


def test_a_receiver_comes_before_a_queue_of_the_same_name(signal: AsyncSignal) -> None:
    listen(signal, name="mail", queue="mail")
    assert resolve("mail") == "receiver:mail"


@pytest.mark.usefixtures("named")
def test_a_name_that_nothing_has_is_an_error_with_what_is_similar() -> None:
    with pytest.raises(ValueError, match=r"Did you mean 't\.now'"):
        resolve("t.nov")


@pytest.mark.parametrize(
    "target",
    [
        *("", "signal:", "no such thing", steered, Signal(), None, 7),
        *("receiver:a\nb", "signal: a", "queue:a\0b", f"receiver:{'a' * 256}"),
    ],
)
def test_what_is_no_target_is_an_error(target: object) -> None:
    with pytest.raises(ValueError, match=r"is no (receiver|signal)"):
        resolve(target)


def test_a_function_with_two_names_is_asked_for_one(signal: AsyncSignal) -> None:
    for name in ("t.one", "t.two"):
        signal.connect(steered, name=name, dispatch_uid=name)
    with pytest.raises(ValueError, match=r"receiver:t\.one, receiver:t\.two; give one"):
        resolve(steered)
