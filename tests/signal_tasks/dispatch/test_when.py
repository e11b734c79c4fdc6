"""``when=`` decides in the sender whether there is a delivery."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from signal_tasks import AsyncSignal
from signal_tasks.models import Event
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen

pytestmark = pytest.mark.django_db


def test_when_decides_in_the_sender_whether_there_is_a_delivery(
    signal: AsyncSignal,
) -> None:
    asked = []

    def big(sender: object, total: int, **kwargs: Any) -> bool:
        asked.append((sender, total, kwargs))
        return total > 100

    calls = listen(signal, when=big)
    assert signal.send(sender="shop", total=5, more=1) == []
    assert not Event.objects.exists()
    assert len(signal.send(sender="shop", total=500)) == 1
    assert asked == [("shop", 5, {"more": 1}), ("shop", 500, {})]
    run_pending()
    assert calls == [{"sender": "shop", "total": 500}]


def test_when_holds_for_its_receiver_only(signal: AsyncSignal) -> None:
    listen(signal, name="t.never", when=lambda sender, **kwargs: False)
    listen(signal, name="t.always")
    ((_, handle),) = signal.send(sender=None)
    assert handle.receiver == "t.always"


def test_an_error_in_when_reaches_the_sender_and_nothing_is_written(
    signal: AsyncSignal,
) -> None:
    listen(signal, when=lambda sender, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        signal.send(sender=None)
    assert not Event.objects.exists()


async def answers_later(sender: object, **kwargs: Any) -> bool:
    return False


def makes_a_generator(sender: object, **kwargs: Any) -> Iterator[bool]:
    yield False


class AnswersLater:
    async def __call__(self, sender: object, **kwargs: Any) -> bool:
        return False


@pytest.mark.parametrize(
    "when",
    [answers_later, makes_a_generator, AnswersLater(), partial(answers_later, n=1)],
)
def test_a_when_whose_answer_would_always_be_true_is_refused(
    when: Any, signal: AsyncSignal
) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"when is .*not an async one"):
        listen(signal, when=when)


def test_when_is_not_asked_in_the_worker(signal: AsyncSignal) -> None:
    asked = []

    def ask(sender: object, **kwargs: Any) -> bool:
        asked.append(sender)
        return True

    listen(signal, when=ask)
    signal.send(sender="once")
    run_pending()
    assert asked == ["once"]
