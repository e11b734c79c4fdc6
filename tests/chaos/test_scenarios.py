"""The shop in a storm, and books that would notice."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from uuid import uuid4

import pytest

from notifications.models import Notification
from orders.services import cancel_order, confirm_order, place_order
from products.models import Product, StockMovement
from signal_tasks.testing import run_pending
from tests.chaos.conftest import ROOT

STORIES = (sys.executable, "-m", "chaos.scenarios", "--short")
MIDNIGHT = 1_700_000_000.0
HOUR = 3600.0


@pytest.mark.timeout(400)
@pytest.mark.skipif(
    os.environ.get("TEST_DATABASE", "sqlite") == "sqlite",
    reason="it starts a PostgreSQL of its own: once is enough",
)
def test_the_books_of_the_shop_balance_after_a_storm():
    ours = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    ran = subprocess.run(
        STORIES, cwd=ROOT, env=ours, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture
def day(db, mailoutbox):
    """What was seen of a day with two orders, one of which was cancelled."""
    from chaos.scenarios.invariants.comparison import Observations
    from chaos.scenarios.invariants.stock import opening_stock

    mug = Product.objects.create(name="Mug", slug="mug", stock=9, price=Decimal(5))
    opening = opening_stock()
    for number in range(2):
        email = f"ada{number}@example.com"
        order = place_order(name="Ada", email=email, lines=[(mug, 2)])
        confirm_order(order=order)
        run_pending()
    cancel_order(order=order)
    run_pending()
    messages = [(MIDNIGHT, letter.message()) for letter in mailoutbox]
    return Observations(opening=opening, messages=messages, made=[], said=[])


@pytest.fixture
def unbalanced(day):
    """Which stories do not balance, with this instead of what was seen."""
    from chaos.scenarios.invariants.all import close

    def of(**changes):
        books = close(replace(day, **changes))
        told = [entry.story for entry in books.entries if not entry.balanced]
        told += ["without a cause"] * bool(books.unexplained)
        told += ["forgotten"] * bool(books.forgotten)
        assert books.balanced is not bool(told)
        return told

    return of


def test_a_day_without_a_storm_balances(unbalanced):
    assert unbalanced() == []


def test_a_letter_that_never_came_is_noticed(day, unbalanced):
    kept = [m for m in day.messages if "cancelled" not in m[1]["Subject"]]
    assert unbalanced(messages=kept) == ["cancelled order", "letter in the inbox"]


def test_a_letter_that_nobody_called_for_is_noticed(day, unbalanced):
    when, letter = day.messages[0]
    del letter["Subject"]
    letter["Subject"] = "You have won"
    found = unbalanced(messages=[(when, letter), *day.messages[1:]])
    assert found == ["confirmed order", "anything else"]


def test_a_letter_that_the_inbox_lacks_is_noticed(unbalanced):
    Notification.objects.filter(kind="order-cancellation").delete()
    assert unbalanced() == ["letter in the inbox"]


def test_a_letter_may_have_come_from_a_process_that_died_before_it_was_withdrawn(
    unbalanced,
):
    cancelled = Notification.objects.filter(order__status="cancelled")
    cancelled.filter(kind="order-confirmation").delete()
    assert unbalanced() == []


def test_a_letter_that_came_twice_without_a_cause_is_noticed(day, unbalanced):
    assert unbalanced(messages=day.messages * 2) == ["without a cause"]


def test_a_letter_may_come_twice_when_postgresql_forgot_that_it_was_taken(
    day, unbalanced
):
    again = [(when + HOUR, letter) for when, letter in day.messages]
    crash = (MIDNIGHT + HOUR / 2, "PostgreSQL, immediate mode")
    assert unbalanced(messages=day.messages + again, made=[crash]) == []


def test_stock_that_is_gone_is_noticed(unbalanced):
    Product.objects.update(stock=6)
    assert unbalanced() == ["product"]


def test_stock_that_was_taken_twice_is_noticed(unbalanced):
    movement = StockMovement.objects.filter(kind="taken").latest("pk")
    movement.pk, movement.key = None, uuid4()
    movement.product.move(movement)
    assert unbalanced() == [
        "line of a confirmed order",
        "line of any order",
        "product",
    ]


def test_stock_that_a_cancelled_order_has_kept_is_noticed(unbalanced):
    returned = StockMovement.objects.get(kind="returned")
    Product.objects.update(stock=5)
    returned.delete()
    assert unbalanced() == ["line of any order", "product"]


def test_a_yes_that_was_not_kept_is_noticed(unbalanced):
    from chaos.scenarios.client import Yes

    assert unbalanced(said=[Yes("confirmed", "0")]) == ["forgotten"]
