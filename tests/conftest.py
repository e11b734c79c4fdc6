"""What every test may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import DatabaseError, connections
from django.test import TransactionTestCase

from signal_tasks.publisher import publisher

#: Where real processes race each other and the clock of a busy machine.
RACES = {"browser", "integration", "stack"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give a test of real processes a second chance, which the summary tells of."""
    for item in items:
        if RACES & set(item.path.relative_to(Path(__file__).parent).parts):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(autouse=True)
def _quiet_publisher() -> Iterator[None]:
    """Leave nothing in the publisher of this process for the next test."""
    yield
    publisher.flush(5)


@pytest.fixture(scope="session", autouse=True)
def _emptied_in_the_end() -> Iterator[None]:
    """Empty the tables once more where a live worker made the first try fail.

    PostgreSQL ends one of two transactions that wait for each other. A test whose
    teardown fails leaves Django's guards on the other databases behind, and every later
    test of several databases fails for it.
    """
    empty: Any = vars(TransactionTestCase)["_fixture_teardown"]

    def insist(case: TransactionTestCase) -> None:
        try:
            empty(case)
        except (CommandError, DatabaseError):
            connections.close_all()
            empty(case)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", insist)
        yield
