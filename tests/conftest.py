"""Fixtures of every test, and a second try for tests of real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from signal_tasks.broker.publisher import publisher

#: The folders whose tests start processes, which race on a busy machine.
RACES = {"browser", "integration", "stack"}
#: Longest time of a test of a browser, which looks at many pages (seconds).
BROWSER_TIMEOUT = 600


# How fast examples are made says how busy the machine is, and nothing else.
settings.register_profile(
    "busy", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--only-database",
        action="store_true",
        help="leave out what has nothing to do with the database, and was run on another",
    )


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Run a test of real processes again when it fails; the summary says so."""
    if config.getoption("only_database"):
        others = [item for item in items if not uses_database(item)]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if uses_database(item)]
    for item in items:
        if starts_processes(item):
            item.add_marker(pytest.mark.flaky(reruns=2))
        if "browser" in item.path.parts and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(BROWSER_TIMEOUT))


def starts_processes(item: pytest.Item) -> bool:
    return bool(RACES & set(item.path.relative_to(Path(__file__).parent).parts))


def uses_database(item: pytest.Item) -> bool:
    """Return True for a test that pytest-django gives a database, or that starts one."""
    fixtures = set(getattr(item, "fixturenames", ()))
    return (
        item.get_closest_marker("django_db") is not None
        or bool(fixtures & {"db", "transactional_db"})
        or starts_processes(item)
    )


@pytest.fixture(autouse=True)
def _quiet_publisher() -> Iterator[None]:
    """Publish what this test has sent, so that nothing is left for the next one."""
    yield
    publisher.flush(5)
