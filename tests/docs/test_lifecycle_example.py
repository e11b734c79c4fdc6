"""The listeners of the page on lifecycle signals, with deliveries that finish."""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from django.core import mail

from signal_tasks import AsyncSignal, Reject, signals
from signal_tasks.testing import run_pending
from tests.docs.projects import ROOT

EXAMPLE = ROOT / "docs" / "reference" / "examples" / "listen_to_deliveries.py"


@pytest.fixture
def example(db: None) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("listen_to_deliveries", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    signals.delivery_dead.disconnect(module.mail_dead_letter)
    signals.attempt_finished.disconnect(module.count_attempt)


@pytest.fixture
def signal() -> AsyncSignal:
    return AsyncSignal(name=f"tests.signal_{uuid.uuid4().hex}")


def refuse(sender: object, **kwargs: Any) -> None:
    raise Reject("no such invoice")


def accept(sender: object, **kwargs: Any) -> None:
    """Do nothing."""


def test_a_dead_letter_is_mailed_with_the_command_that_inspects_it(
    example: ModuleType, signal: AsyncSignal, settings: Any
) -> None:
    settings.ADMINS = [("On call", "oncall@example.com")]
    signal.connect(refuse, name="tests.refuse")
    signal.send(sender=None)
    (delivery,) = run_pending()
    (email,) = mail.outbox
    assert "rejected in attempt 1: no such invoice" in email.body
    assert f"signal_tasks inspect {delivery.id}" in email.body


def test_attempts_are_counted_by_receiver_and_state(
    example: ModuleType, signal: AsyncSignal
) -> None:
    signal.connect(refuse, name="tests.refuse")
    signal.connect(accept, name="tests.accept")
    signal.send(sender=None)
    signal.send(sender=None)
    run_pending()
    assert example.attempts == {
        ("tests.refuse", "dead"): 2,
        ("tests.accept", "succeeded"): 2,
    }
