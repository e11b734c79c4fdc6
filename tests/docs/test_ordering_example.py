"""The receiver of the page on order, with movements that come too early."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from django.db import connection, transaction
from pytest_django import DjangoDbBlocker

from signal_tasks import operations
from signal_tasks.testing import run_pending
from tests.docs.projects import ROOT

EXAMPLE = ROOT / "docs" / "reference" / "examples" / "ordered_stock.py"


@pytest.fixture(scope="module")
def loaded(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[ModuleType]:
    """Load the example, and make its table."""
    spec = importlib.util.spec_from_file_location("ordered_stock", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["ordered_stock"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with django_db_blocker.unblock():
        with connection.schema_editor() as editor:
            editor.create_model(module.Stock)
        yield module
        with connection.schema_editor() as editor:
            editor.delete_model(module.Stock)
    module.stock_moved.disconnect(module.book)
    del sys.modules["ordered_stock"]


@pytest.fixture
def example(loaded: ModuleType, db: None) -> ModuleType:
    return loaded


def stock(example: ModuleType) -> dict[str, int]:
    return dict(example.Stock.objects.values_list("product", "left"))


def move(example: ModuleType, product: str, *changes: int) -> None:
    for change in changes:
        example.stock_moved.send(sender=None, product=product, change=change)


def test_movements_of_a_product_are_booked_in_their_order(example: ModuleType) -> None:
    move(example, "tea", 5, -3, 2, -4)
    run_pending(shuffle=1)
    assert stock(example) == {"tea": 0}


def test_a_movement_that_is_rolled_back_is_not_booked(example: ModuleType) -> None:
    move(example, "tea", 5)
    with transaction.atomic():
        example.book(sender=None, product="tea", change=2)
        transaction.set_rollback(True)
    run_pending()
    assert stock(example) == {"tea": 5}


def test_one_that_cannot_be_booked_blocks_its_product_alone(
    example: ModuleType,
) -> None:
    move(example, "tea", 1, -2, 5)
    move(example, "cups", 1)
    run_pending()
    assert stock(example) == {"tea": 1, "cups": 1}
    (blocked,) = operations.blocked_keys()
    assert (blocked.key, blocked.waiting) == ("tea", 1)
    assert blocked.error == "Reject: only 1 of tea left"


def test_a_skip_lets_the_next_ones_run(example: ModuleType) -> None:
    move(example, "tea", 1, -2, 5)
    run_pending()
    example.let_the_next_ones_run("counted by hand", by="ann")
    run_pending()
    assert stock(example) == {"tea": 6}


def test_a_replay_keeps_the_order(example: ModuleType) -> None:
    move(example, "tea", 1, -2, 5)
    run_pending()
    example.Stock.objects.update(left=3)  # somebody has found two more
    operations.replay(operations.Selection(state="dead"), by="ann")
    run_pending()
    assert stock(example) == {"tea": 6}
