"""Tests of a durable receiver of one of Django's signals."""

from django.contrib.auth.models import User
from django.core import mail
from django.test import TestCase
from signal_tasks.testing import run_pending


class WelcomeTests(TestCase):
    """A user is saved."""

    def test_a_new_user_is_welcomed_once(self):
        user = User.objects.create_user("eve", "eve@example.com")
        user.save()
        run_pending()
        self.assertEqual([email.to for email in mail.outbox], [["eve@example.com"]])
