"""Tests of the plain signal."""

from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.test import TestCase, override_settings

from orders.models import Order, Product


class NoMailServer(BaseEmailBackend):
    """Email while the mail server is down."""

    def send_messages(self, email_messages):
        raise ConnectionRefusedError


class ConfirmTests(TestCase):
    """The button is pressed."""

    fixtures = ["examples"]

    def confirm(self, pk):
        self.client.raise_request_exception = False
        return self.client.post(f"/{pk}/confirm/")

    def test_confirming_takes_stock_and_sends_an_email(self):
        self.confirm(2)
        self.assertEqual(Product.objects.get().stock, 8)
        self.assertEqual(mail.outbox[0].to, ["bob@example.com"])

    @override_settings(EMAIL_BACKEND="orders.tests.NoMailServer")
    def test_without_a_mail_server_nobody_can_order(self):
        self.assertEqual(self.confirm(2).status_code, 500)
        self.assertFalse(Order.objects.get(pk=2).confirmed)

    def test_an_email_goes_out_for_an_order_that_never_was(self):
        self.assertEqual(self.confirm(4).status_code, 500)  # 50 pieces are not there
        self.assertFalse(Order.objects.get(pk=4).confirmed)
        self.assertEqual(len(mail.outbox), 1)
