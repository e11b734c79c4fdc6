"""Messages to customers: recorded, recognisable, and not sent again."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from django.core import mail
from django.core.mail import EmailMultiAlternatives

from notifications.models import Notification
from notifications.services import message_id, notify
from signal_tasks import deliveries_of
from signal_tasks.testing import run_pending

pytestmark = pytest.mark.django_db
CONFIRMATION = Notification.Kind.ORDER_CONFIRMATION


@pytest.fixture
def order(mug, place):
    return place((mug, 2))


def test_the_confirmation_says_what_was_ordered(mug, confirmed):
    order = confirmed((mug, 2))
    run_pending()
    [message] = mail.outbox
    assert message.subject == f"Your order {order.pk} is confirmed"
    assert "2 x Enamel mug at EUR 14.50" in message.body
    assert "Total: EUR 29.00" in message.body


def test_the_message_id_is_made_from_the_delivery(mug, confirmed):
    order = confirmed((mug, 2))
    run_pending()
    order.refresh_from_db()
    [delivery] = [
        delivery
        for delivery in deliveries_of(order.confirmation_event_id)
        if delivery.receiver == "notifications.receivers.send_order_confirmation"
    ]
    [message] = mail.outbox
    record = Notification.objects.get()
    assert message.message()["Message-ID"] == record.message_id
    assert record.message_id == message_id(UUID(str(delivery.id)))
    assert record.recipient == "ada@example.com"
    assert record.order == order


def test_a_message_that_is_recorded_is_not_sent_again(order):
    same = {"key": uuid4(), "kind": CONFIRMATION, "subject": "Yes", "order": order}
    assert notify(**same) is True
    assert notify(**same) is False
    assert len(mail.outbox) == 1
    assert Notification.objects.count() == 1


def test_a_message_whose_record_was_lost_goes_out_under_the_same_message_id(order):
    same = {"key": uuid4(), "kind": CONFIRMATION, "subject": "Yes", "order": order}
    notify(**same)
    Notification.objects.all().delete()  # as if the process had died just before it
    notify(**same)
    first, second = (message.message()["Message-ID"] for message in mail.outbox)
    assert first == second


def test_a_message_that_the_mail_server_refused_is_not_recorded(order, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    with pytest.raises(OSError, match="refused"):
        notify(key=uuid4(), kind=CONFIRMATION, subject="Yes", order=order)
    assert not Notification.objects.exists()


def test_a_name_with_markup_arrives_as_it_was_typed(order):
    order.customer_name = "Tom & <Jerry>"
    notify(key=uuid4(), kind=CONFIRMATION, subject="Yes", order=order)
    assert "Hello Tom & <Jerry>," in mail.outbox[0].body


def test_the_record_keeps_what_was_sent(order):
    notify(key=uuid4(), kind=CONFIRMATION, subject="Yes", order=order)
    record, [message] = Notification.objects.get(), mail.outbox
    assert record.text == message.body
    assert isinstance(message, EmailMultiAlternatives)
    assert record.html == message.alternatives[0][0]
    assert record.headers["Message-ID"] == record.message_id
    assert record.headers["From"] == message.from_email


def test_the_html_part_shows_markup_in_a_name_as_text(order):
    order.customer_name = "Tom & <Jerry>"
    notify(key=uuid4(), kind=CONFIRMATION, subject="Yes", order=order)
    assert "Tom &amp; &lt;Jerry&gt;" in Notification.objects.get().html
