"""A project that has forgotten to install the app."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import modify_settings

from signal_tasks import AsyncSignal


def test_a_send_without_the_app_says_so_instead_of_losing_the_event() -> None:
    apps = ["signal_tasks", "signal_tasks.dashboard", "tests.testapp"]
    signal = AsyncSignal(name="tests.not_installed")
    with (
        modify_settings(INSTALLED_APPS={"remove": apps}),
        pytest.raises(ImproperlyConfigured, match='Add "signal_tasks"'),
    ):
        signal.send(sender=None)
    assert signal.send(sender=None) == []
