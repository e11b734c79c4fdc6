"""The language of the sender is that of its receivers."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import translation
from django.utils.translation import gettext as _

from signal_tasks import AsyncSignal
from signal_tasks.testing import run_pending
from tests.signal_tasks.delivery.steps import connect

pytestmark = pytest.mark.django_db


@pytest.fixture
def seen(signal: AsyncSignal, settings: Any) -> list[tuple[str | None, str]]:
    path = "signal_tasks.contrib.language.Language"
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "CONTEXT": [path]}
    found: list[tuple[str | None, str]] = []

    def speak(sender: object, **kwargs: Any) -> None:
        found.append((translation.get_language(), _("Yes")))

    connect(signal, speak)
    return found


def test_a_receiver_speaks_the_language_of_its_sender(
    signal: AsyncSignal, seen: list[Any]
) -> None:
    for language in ("de", "fr"):
        with translation.override(language):
            signal.send(sender=None)
    run_pending()
    assert seen == [("de", "Ja"), ("fr", "Oui")]
    assert translation.get_language() == "en-us"


def test_without_translations_it_speaks_that_of_its_process(
    signal: AsyncSignal, seen: list[Any]
) -> None:
    with translation.override(None):
        signal.send(sender=None)
    run_pending()
    assert seen == [("en-us", "Yes")]
