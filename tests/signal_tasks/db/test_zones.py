"""Due times under ``DATABASES[...]["TIME_ZONE"]``: right, or refused by ``check``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from signal_tasks import AsyncSignal, checks
from signal_tasks.models import Delivery, Event
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen

pytestmark = pytest.mark.django_db


@pytest.fixture
def set_zone() -> Iterator[Callable[[str | None], None]]:
    """Change the time zone of the default database for this test."""

    def change(zone: str | None) -> None:
        connection.settings_dict["TIME_ZONE"] = zone
        for cached in ("timezone", "timezone_name"):
            with suppress(AttributeError):
                delattr(connection, cached)
        ensure: Callable[[], Any] = getattr(connection, "ensure_timezone", bool)
        ensure()

    yield change
    change(None)


def is_refused() -> bool:
    return [m.id for m in checks.databases.times_are_stored_in_utc()] == [
        "signal_tasks.E005"
    ]


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/St_Johns", "Europe/Berlin"])
def test_a_due_time_is_right_in_any_zone_or_the_zone_is_refused(
    zone: str, set_zone: Callable[[str | None], None], signal: AsyncSignal
) -> None:
    set_zone(zone)
    calls = listen(signal)
    soon = timezone.now() + timedelta(minutes=1)
    ago = timezone.now() - timedelta(minutes=1)
    signal.using(at=soon).send(sender=None, due="later")
    signal.using(at=ago).send(sender=None, due="now")
    signal.send(sender=None, due="at once")
    run_pending()
    heard = [call["due"] for call in calls]
    age = abs(timezone.now() - Event.objects.latest("pk").sent_at)
    is_right = sorted(heard) == ["at once", "now"] and age < timedelta(minutes=1)
    assert is_right is not is_refused()
    if connection.features.supports_timezones:
        assert is_right


@pytest.mark.parametrize("zone", [None, "UTC", "Etc/UTC"])
def test_utc_is_right_everywhere(
    zone: str | None, set_zone: Callable[[str | None], None], signal: AsyncSignal
) -> None:
    set_zone(zone)
    assert not is_refused()
    listen(signal)
    at = timezone.now() + timedelta(seconds=90)
    signal.using(at=at).send(sender=None)
    assert Delivery.objects.get().available_at == at


def test_a_database_without_an_outbox_may_have_any_zone(
    set_zone: Callable[[str | None], None], settings: Any
) -> None:
    set_zone("Europe/Berlin")
    settings.SIGNAL_TASKS = {"DATABASES": ["other"]}
    assert not is_refused()
