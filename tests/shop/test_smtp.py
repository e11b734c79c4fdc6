"""Messages over real SMTP: what passes is retried, what is refused for good waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from io import StringIO

import pytest
from django.core.management import call_command

from notifications.models import Notification
from products.models import Product
from signal_tasks import DeliveryHandle, deliveries_of
from signal_tasks.testing import run_pending
from tests.shop.conftest import Place

pytestmark = pytest.mark.django_db
ADA = "ada@example.com"
TIMEOUT = 15.0  # the second attempt is due within 2 seconds, the third within 4


@pytest.fixture
def delivery(mug: Product, confirmed: Place) -> Callable[[], DeliveryHandle]:
    """The delivery that writes to the customer about an order, as it stands."""
    order = confirmed((mug, 2))
    order.refresh_from_db()
    assert order.confirmation_event_id is not None
    event_id = order.confirmation_event_id

    def now() -> DeliveryHandle:
        return next(
            found
            for found in deliveries_of(event_id)
            if found.receiver.endswith("send_order_confirmation")
        )

    return now


def run_until_it_ends(delivery: Callable[[], DeliveryHandle]) -> str:
    deadline = time.monotonic() + TIMEOUT
    while not delivery().finished and time.monotonic() < deadline:
        run_pending()
        time.sleep(0.05)
    return delivery().state


def test_a_message_arrives_with_a_text_an_html_part_and_its_id(post_office, delivery):
    run_pending()
    [message] = post_office.received
    parts = [part.get_content_type() for part in message.walk()]
    assert parts == ["multipart/alternative", "text/plain", "text/html"]
    assert message["To"] == ADA
    assert message["Message-ID"] == Notification.objects.get().message_id
    assert delivery().state == "succeeded"


def test_a_recipient_that_is_refused_for_good_is_a_dead_letter_at_once(
    post_office, delivery
):
    post_office.answers[ADA] = "550 No such user"
    run_pending()
    assert (delivery().state, delivery().reason) == ("dead", "rejected")
    assert delivery().attempts == 1
    assert not Notification.objects.exists()


def test_a_message_that_is_refused_for_good_is_a_dead_letter_at_once(
    post_office, delivery
):
    post_office.verdict = "554 We do not like it"
    run_pending()
    assert (delivery().state, delivery().reason) == ("dead", "rejected")


def test_a_dead_letter_is_replayed_when_the_cause_is_mended(post_office, delivery):
    post_office.answers[ADA] = "550 No such user"
    run_pending()
    post_office.answers.clear()
    call_command("signal_tasks", "replay", str(delivery().id), stdout=StringIO())
    run_pending()
    assert delivery().state == "succeeded"
    assert len(post_office.received) == 1


@pytest.mark.parametrize("answer", ["450 Try again later", "421 Too busy"])
def test_a_recipient_that_is_refused_for_now_is_tried_again(
    post_office, delivery, answer
):
    post_office.answers[ADA] = answer
    run_pending()
    assert (delivery().state, delivery().attempts) == ("pending", 1)
    post_office.answers.clear()
    assert run_until_it_ends(delivery) == "succeeded"
    assert len(post_office.received) == 1


def test_a_server_that_is_down_is_asked_again_when_it_is_back(post_office, delivery):
    post_office.close()
    run_pending()
    assert (delivery().state, delivery().attempts) == ("pending", 1)
    post_office.open()
    assert run_until_it_ends(delivery) == "succeeded"
    assert len(post_office.received) == 1


def test_a_server_that_does_not_answer_is_not_waited_for(
    post_office, delivery, settings
):
    settings.EMAIL_TIMEOUT = 0.2
    post_office.delay = 1.0
    run_pending()
    assert (delivery().state, delivery().attempts) == ("pending", 1)
    assert not Notification.objects.exists()


def test_stock_is_taken_whatever_the_mail_server_says(post_office, delivery, mug):
    post_office.answers[ADA] = "550 No such user"
    run_pending()
    mug.refresh_from_db()
    assert mug.stock == 8
