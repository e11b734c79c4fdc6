"""Tests of the address for monitors."""

from django.test import TestCase


class HealthTests(TestCase):
    """A monitor asks."""

    def test_without_a_worker_the_site_is_not_healthy(self):
        answer = self.client.get("/health/")
        self.assertEqual(answer.status_code, 503)
        self.assertIn("worker", str(answer.json()["problems"]))
