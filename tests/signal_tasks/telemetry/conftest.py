"""The history, kept by the process of the tests as a worker keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from signal_tasks.telemetry import recording


@pytest.fixture
def recorded(
    transactional_db: None, connected: Callable[..., None]
) -> Iterator[Callable[[], bool]]:
    """Count what this process does; the function that is returned writes it."""
    for signal, listener in recording.LISTENERS:
        connected(signal, listener)
    yield recording.recorder.write
    recording.recorder.write()


@pytest.fixture
def failing(signal: Any) -> Callable[..., None]:
    """Return a function that connects a receiver which raises an error."""

    def connect(name: str, error: BaseException, **options: Any) -> None:
        def fail(sender: object, **kwargs: Any) -> None:
            raise error

        signal.connect(fail, name=name, weak=False, **options)

    return connect
