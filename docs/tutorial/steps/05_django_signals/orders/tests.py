"""Tests of the durable signal."""

from contextlib import suppress

from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction
from django.test import TestCase, override_settings
from signal_tasks.testing import run_pending

from orders.models import Order, Product
from orders.signals import order_confirmed


class NoMailServer(BaseEmailBackend):
    """Email while the mail server is down."""

    def send_messages(self, email_messages):
        raise ConnectionRefusedError


class ConfirmTests(TestCase):
    """The button is pressed."""

    fixtures = ["examples"]

    def test_confirming_only_writes_down_what_is_to_be_done(self):
        self.client.post("/2/confirm/")
        self.assertEqual(Product.objects.get().stock, 10)
        self.assertEqual(mail.outbox, [])

    def test_a_worker_takes_stock_and_sends_an_email(self):
        self.client.post("/2/confirm/")
        run_pending()  # what a worker does
        self.assertEqual(Product.objects.get().stock, 8)
        self.assertEqual(mail.outbox[0].to, ["bob@example.com"])

    def test_an_order_that_is_rolled_back_sends_nothing(self):
        order = Order.objects.get(pk=2)
        with suppress(RuntimeError), transaction.atomic():
            order_confirmed.send(sender=Order, order=order)
            raise RuntimeError
        self.assertEqual(run_pending(), [])

    @override_settings(EMAIL_BACKEND="orders.tests.NoMailServer")
    def test_without_a_mail_server_only_the_email_is_late(self):
        self.client.post("/2/confirm/")
        states = {each.receiver: each.state for each in run_pending()}
        self.assertTrue(Order.objects.get(pk=2).confirmed)
        self.assertEqual(
            states,
            {
                "orders.receivers.take_stock": "succeeded",
                "orders.receivers.send_confirmation": "pending",
            },
        )
