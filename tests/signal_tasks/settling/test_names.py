"""The name of ``signal.settled``, and signals that have none."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

from signal_tasks import AsyncSignal
from tests.signal_tasks.settling.steps import hear_settled


def test_it_is_named_after_its_signal() -> None:
    signal = AsyncSignal(name="tests.one", aliases=["tests.former"])
    assert signal.settled.names == ("tests.one.settled", "tests.former.settled")


def test_it_is_the_same_each_time() -> None:
    signal = AsyncSignal(name="tests.one")
    assert signal.settled is signal.settled


def test_it_has_no_settled_of_its_own() -> None:
    signal = AsyncSignal(name="tests.one")
    with pytest.raises(ImproperlyConfigured, match="no settled of its own"):
        _ = signal.settled.settled


def test_a_signal_without_a_name_has_none() -> None:
    with pytest.raises(ImproperlyConfigured, match="has no name"):
        _ = AsyncSignal().settled


def test_the_command_lists_it_as_any_signal(signal: AsyncSignal) -> None:
    hear_settled(signal, name="t.settled")
    out = StringIO()
    call_command("signal_tasks", "list", "--json", stdout=out)
    assert f"{signal.name}.settled" in json.dumps(json.loads(out.getvalue()))
