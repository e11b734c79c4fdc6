"""Signals and receivers that live as long as their test."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.dispatch import Signal

from signal_tasks import AsyncSignal, DeliveryHandle, RetryPolicy
from signal_tasks.db.clock import DatabaseNow
from signal_tasks.registry.settled import settled_signals
from signal_tasks.steering import snapshot


@pytest.fixture
def signal() -> Iterator[AsyncSignal]:
    """Make a signal with a name that no other test uses.

    Its receivers leave their names to the next test, though a traceback may keep it.
    """
    signal = AsyncSignal(name=f"tests.signal_{uuid.uuid4().hex}")
    yield signal
    for each in signal.durable_connections:
        signal.disconnect(each.receiver.function(), each.sender())


@pytest.fixture
def heard(signal: AsyncSignal) -> list[dict[str, Any]]:
    """Connect a durable receiver to ``signal``; return the list of its calls."""
    return listen(signal)


@pytest.fixture
def failing(signal: AsyncSignal) -> AsyncSignal:
    """Make a signal whose receiver, t.failing, always fails."""

    def fail(sender: object, **kwargs: Any) -> None:
        raise ValueError("on purpose")

    policy = RetryPolicy(max_attempts=1)
    signal.connect(fail, name="t.failing", weak=False, retry=policy)
    return signal


def send(signal: AsyncSignal, **kwargs: Any) -> DeliveryHandle:
    """Send a signal that has one receiver; return its delivery."""
    ((_, handle),) = signal.send(sender=None, **kwargs)
    assert isinstance(handle, DeliveryHandle)
    return handle


def listen(signal: AsyncSignal, sender: object = None, **options: Any) -> list[Any]:
    """Connect a receiver for as long as its signal lives; return its calls."""
    calls: list[dict[str, Any]] = []

    def receiver(sender: object, **kwargs: Any) -> str:
        kwargs.pop("signal")
        calls.append({"sender": sender, **kwargs})
        return "heard"

    options = {"name": f"tests.receiver_{uuid.uuid4().hex}"} | options
    if options.get("inline"):
        del options["name"]
    signal.connect(receiver, sender=sender, weak=False, **options)
    return calls


@pytest.fixture(autouse=True)
def _no_snapshots() -> None:
    """Forget what was in force in the test before."""
    snapshot.forget()


@pytest.fixture(autouse=True)
def _nothing_settles() -> Iterator[None]:
    """Let nobody hear of settling any more: the next test's relays would look for it.

    A signal lives on in cycles, or in a traceback that pytest keeps.
    """
    yield
    for name in settled_signals.names():
        settled: Any = settled_signals.find(name)
        for each in settled.durable_connections:
            settled.disconnect(each.receiver.function(), each.sender())
        settled.receivers.clear()


@pytest.fixture
def _no_reports(settings: Any) -> None:
    """Let no second report of a relay come due: on a busy machine, one would."""
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "WORKER_TTL": 3600.0}


@pytest.fixture
def connected() -> Iterator[Callable[..., None]]:
    """Connect to signals that outlive the test, for this test only."""
    done: list[tuple[Signal, dict[str, Any]]] = []

    def connect(signal: Signal, receiver: Any, **options: Any) -> None:
        signal.connect(receiver, **options)
        done.append((signal, {"receiver": receiver, **options}))

    yield connect
    for signal, how in done:
        keys = ("receiver", "sender", "dispatch_uid")
        signal.disconnect(**{key: how[key] for key in keys if key in how})


def finish(rows: Any, state: str) -> None:
    """Finish deliveries as nobody does outside of tests: without running them."""
    rows.update(state=state, next_check_at=None, finished_at=DatabaseNow())


@pytest.fixture
def repeatable_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run transactions under this level, on all connections that are opened now."""
    level: Any = "repeatable read"
    if connection.vendor == "postgresql":
        from django.db.backends.postgresql.psycopg_any import IsolationLevel

        level = IsolationLevel.REPEATABLE_READ
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "isolation_level", level)
    connection.close()
    yield
    connection.close()
