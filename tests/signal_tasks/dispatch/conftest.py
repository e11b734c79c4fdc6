"""Durable receivers of signals that are not ours, for one test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from signal_tasks import async_receiver

Forward = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def forward() -> Iterator[Forward]:
    """Connect a durable receiver for this test; return the list of its calls."""
    done: list[tuple[Any, Any, str, Any]] = []

    def connect(signal: Any, sender: Any = None, **options: Any) -> list[Any]:
        calls: list[dict[str, Any]] = []

        def hear(sender: object, **kwargs: Any) -> None:
            calls.append({"sender": sender, **kwargs})

        name = options.setdefault("name", f"t.forwarded_{len(done)}")
        signals = signal if isinstance(signal, list) else [signal]
        async_receiver(signal, sender, **options)(hear)
        done.extend((each, sender, name, hear) for each in signals)
        return calls

    yield connect
    for signal, sender, name, hear in done:
        signal.disconnect(sender=sender, dispatch_uid=name)
        signal.disconnect(hear, sender=sender)
