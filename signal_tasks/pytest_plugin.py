"""pytest fixtures, found by entry point.

Nothing of Django is imported before a fixture is used: pytest loads plugins before
settings are configured.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def run_pending(db: Any) -> Any:
    """``signal_tasks.testing.run_pending``, with database access."""
    from signal_tasks import testing

    return testing.run_pending


@pytest.fixture
def captured_signals() -> Iterator[list[Any]]:
    """Every send of an ``AsyncSignal`` during the test."""
    from signal_tasks import testing

    with testing.capture_signals() as sent:
        yield sent
