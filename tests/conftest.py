"""Fixtures of every test, and a second try for tests of real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from signal_tasks.broker.publisher import publisher

#: The folders whose tests start processes, which race on a busy machine.
RACES = {"browser", "integration", "stack"}


# How fast examples are made says how busy the machine is, and nothing else.
settings.register_profile(
    "busy", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run a test of real processes again when it fails; the summary says so."""
    for item in items:
        if RACES & set(item.path.relative_to(Path(__file__).parent).parts):
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.fixture(autouse=True)
def _quiet_publisher() -> Iterator[None]:
    """Publish what this test has sent, so that nothing is left for the next one."""
    yield
    publisher.flush(5)
