"""The receiver of the page on order, with movements that come too early."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from signal_tasks import operations
from signal_tasks.testing import run_pending
from tests.docs.projects import ROOT

EXAMPLE = ROOT / "docs" / "reference" / "examples" / "ordered_stock.py"


@pytest.fixture
def example(db: None) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("ordered_stock", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["ordered_stock"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    module.stock_moved.disconnect(module.book)
    del sys.modules["ordered_stock"]


def move(example: ModuleType, product: str, *changes: int) -> None:
    for change in changes:
        example.stock_moved.send(sender=None, product=product, change=change)


def test_movements_of_a_product_are_booked_in_their_order(example: ModuleType) -> None:
    move(example, "tea", 5, -3, 2, -4)
    run_pending(shuffle=1)
    assert example.stock == {"tea": 0}


def test_one_that_cannot_be_booked_blocks_its_product_alone(
    example: ModuleType,
) -> None:
    move(example, "tea", 1, -2, 5)
    move(example, "cups", 1)
    run_pending()
    assert example.stock == {"tea": 1, "cups": 1}
    (blocked,) = operations.blocked_keys()
    assert (blocked.key, blocked.waiting) == ("tea", 1)
    assert blocked.error == "Reject: only 1 of tea left"


def test_a_skip_lets_the_next_ones_run(example: ModuleType) -> None:
    move(example, "tea", 1, -2, 5)
    run_pending()
    example.let_the_next_ones_run("counted by hand", by="ann")
    run_pending()
    assert example.stock == {"tea": 6}


def test_a_replay_keeps_the_order(example: ModuleType) -> None:
    move(example, "tea", 1, -2, 5)
    run_pending()
    example.stock["tea"] = 3  # somebody has found two more
    operations.replay(operations.Selection(state="dead"), by="ann")
    run_pending()
    assert example.stock == {"tea": 6}
