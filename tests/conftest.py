"""What every test may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from signal_tasks.publisher import publisher


@pytest.fixture(autouse=True)
def _quiet_publisher() -> Iterator[None]:
    """Leave nothing in the publisher of this process for the next test."""
    yield
    publisher.flush(5)
