"""A relay and a broker with empty queues."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from signal_tasks.broker.publisher import publisher
from signal_tasks.relay.relay import Relay
from tests.signal_tasks.relay.steps import received


@pytest.fixture
def relay() -> Iterator[Relay]:
    """A relay, and a broker with empty queues."""
    publisher.flush(5)
    received("tests")
    received("elsewhere")
    relay = Relay("relay@test")
    yield relay
    relay.close()
