"""Tests of the options of the receivers."""

from django.core import mail
from django.test import TestCase
from signal_tasks.testing import run_pending

from orders.models import Order, Product


class OptionTests(TestCase):
    """Orders whose receivers fail or run twice."""

    fixtures = ["examples"]

    def test_an_email_that_is_sent_twice_can_be_told(self):
        self.client.post("/2/confirm/")
        run_pending(twice=True)  # as when a worker died after sending it
        first, again = (email.extra_headers["Message-ID"] for email in mail.outbox)
        self.assertEqual(first, again)
        self.assertEqual(Product.objects.get().stock, 8)  # taken once

    def test_an_order_of_too_many_is_not_confirmed(self):
        self.assertEqual(self.client.post("/4/confirm/").status_code, 409)
        self.assertFalse(Order.objects.get(pk=4).confirmed)
        self.assertEqual(run_pending(), [])

    def test_an_order_whose_stock_is_gone_meanwhile_is_a_dead_letter(self):
        self.client.post("/2/confirm/")
        Product.objects.update(stock=1)
        taken = next(each for each in run_pending() if "take" in each.receiver)
        self.assertEqual((taken.state, taken.reason), ("dead", "rejected"))
        self.assertEqual(Product.objects.get().stock, 1)
