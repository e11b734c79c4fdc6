"""The scenario of the shop keeps its invariants, and each violation is detected."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from urllib.request import OpenerDirector
from uuid import UUID, uuid4

import pytest

from chaos.scenarios.client import Acknowledged, Visit
from customers.proofs import Claim, accept
from customers.signals import proof_requested
from notifications.models import Notification
from orders.models import Order
from orders.services import cancel_order, confirm_order, place_order
from products.models import Product, StockMovement
from shop.mail_folder import LINK
from signal_tasks.testing import run_pending
from tests.chaos.conftest import ROOT

SCENARIO = (sys.executable, "-m", "chaos.scenarios", "--short")
MIDNIGHT = 1_700_000_000.0
HOUR = 3600.0
VISITOR = UUID(int=1)


@pytest.mark.timeout(400)
@pytest.mark.skipif(
    os.environ.get("TEST_DATABASE", "sqlite") == "sqlite",
    reason="it starts a PostgreSQL of its own: once is enough",
)
def test_all_invariants_of_the_shop_hold_in_spite_of_faults():
    ours = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    ran = subprocess.run(
        SCENARIO, cwd=ROOT, env=ours, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def ordered(email: str, product: Product) -> Order:
    lines = [(product, 2)]
    return place_order(name="Ada", email=email, lines=lines, visitor=VISITOR)


@pytest.fixture
def observed(db, mailoutbox):
    """Return the observations of two orders, one of which was cancelled."""
    from chaos.scenarios.invariants.stock import current_stock
    from chaos.scenarios.observations import Observations

    mug = Product.objects.create(name="Mug", slug="mug", stock=9, price=Decimal(5))
    initial_stock = current_stock()
    for number in range(2):
        email = f"ada{number}@example.com"
        accept(Claim(email=email, visitor=str(VISITOR)))
        order = ordered(email, mug)
        confirm_order(order=order)
        run_pending()
    cancel_order(order=order)
    run_pending()
    return Observations(
        initial_stock=initial_stock,
        messages=[(MIDNIGHT, email.message()) for email in mailoutbox],
        injected=[],
        acknowledged=[],
    )


@pytest.fixture
def violated(observed):
    """Return a function that lists the violated invariants after some changes."""
    from chaos.scenarios.invariants.checker import check

    def violated(**changes):
        result = check(replace(observed, **changes))
        items = [one.item for one in result.comparisons if not one.holds]
        items += ["without a cause"] * bool(result.unexplained)
        items += ["not committed"] * bool(result.uncommitted)
        assert result.valid is not bool(items)
        return items

    return violated


def test_without_a_fault_all_invariants_hold(violated):
    assert violated() == []


def test_a_missing_email_is_detected(observed, violated):
    kept = [m for m in observed.messages if "cancelled" not in m[1]["Subject"]]
    assert violated(messages=kept) == ["cancelled order", "email in the inbox"]


def test_a_missing_link_is_detected(violated):
    claim = {"email": "ada@example.com", "user_id": None, "visitor": str(VISITOR)}
    proof_requested.send(sender=None, purpose="address", **claim)
    assert violated() == ["address to be proved"]


def test_a_cancelled_order_whose_address_is_not_proved_needs_no_email(violated):
    cancel_order(order=ordered("stranger@example.com", Product.objects.get()))
    run_pending()
    assert violated() == []


def test_an_unexpected_email_is_detected(observed, violated):
    when, email = observed.messages[0]
    del email["Subject"]
    email["Subject"] = "You have won"
    found = violated(messages=[(when, email), *observed.messages[1:]])
    assert found == ["confirmed order", "anything else"]


def test_an_email_that_the_inbox_lacks_is_detected(violated):
    Notification.objects.filter(kind="order-cancellation").delete()
    assert violated() == ["email in the inbox"]


def test_an_email_of_a_killed_process_may_be_missing_in_the_inbox_if_withdrawn(
    violated,
):
    cancelled = Notification.objects.filter(order__status="cancelled")
    cancelled.filter(kind="order-confirmation").delete()
    assert violated() == []


def test_an_email_that_arrived_twice_without_a_cause_is_detected(observed, violated):
    assert violated(messages=observed.messages * 2) == ["without a cause"]


def test_an_email_may_arrive_twice_if_postgresql_forgot_a_claim(observed, violated):
    again = [(when + HOUR, email) for when, email in observed.messages]
    crash = (MIDNIGHT + HOUR / 2, "PostgreSQL, immediate mode")
    assert violated(messages=observed.messages + again, injected=[crash]) == []


def test_missing_stock_is_detected(violated):
    Product.objects.update(stock=6)
    assert violated() == ["product"]


def test_stock_that_was_taken_twice_is_detected(violated):
    movement = StockMovement.objects.filter(kind="taken").latest("pk")
    movement.pk, movement.key = None, uuid4()
    movement.product.move(movement)
    assert violated() == [
        "line of a confirmed order",
        "line of any order",
        "product",
    ]


def test_stock_that_a_cancelled_order_still_holds_is_detected(violated):
    returned = StockMovement.objects.get(kind="returned")
    Product.objects.update(stock=5)
    returned.delete()
    assert violated() == ["line of any order", "product"]


def test_an_acknowledged_operation_that_was_not_committed_is_detected(violated):
    acknowledged = [Acknowledged("confirmed", "0")]
    assert violated(acknowledged=acknowledged) == ["not committed"]


@pytest.fixture
def visit(live_server, mailoutbox):
    """Return a function that makes visits, which share what was acknowledged."""

    def first_link(email):
        run_pending()
        sent = "\n".join(m.body for m in mailoutbox if m.to == [email])
        return LINK.findall(sent)[0]

    acknowledged: list[Acknowledged] = []
    return lambda: Visit(live_server.url, first_link, acknowledged)


class LosesOneResponse:
    """An opener whose first response to the form of a proof link gets lost."""

    def __init__(self, opener: OpenerDirector) -> None:
        self.opener = opener
        self.lost = False

    def open(self, url, body, timeout):
        response = self.opener.open(url, body, timeout)
        if body and "/register/ey" in url and not self.lost:
            self.lost = True
            response.close()
            raise ConnectionResetError
        return response


def test_a_registration_that_was_committed_in_an_earlier_visit_goes_on(visit):
    visit().register("ada")
    again = visit()
    again.register("ada")
    again.rename("ada", last_name="Byron")
    assert again.acknowledged == [Acknowledged("account", "ada")] * 2


def test_a_registration_whose_response_was_lost_goes_on(visit):
    ada = visit()
    ada.opener = LosesOneResponse(ada.opener)
    ada.register("ada")
    ada.rename("ada", last_name="Byron")
    assert ada.retries == 1
    assert ada.acknowledged == [Acknowledged("account", "ada")]
