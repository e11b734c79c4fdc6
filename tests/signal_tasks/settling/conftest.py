"""Stop collecting failures to settle when their test ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from signal_tasks import AsyncSignal, signals


@pytest.fixture
def signal(signal: AsyncSignal) -> Iterator[AsyncSignal]:
    yield signal
    signals.settling_failed.disconnect(dispatch_uid="tests.told")
