"""The current time zone of the sender is that of its receivers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from datetime import timezone as fixed_offset
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from signal_tasks import AsyncSignal
from signal_tasks.testing import run_pending
from tests.signal_tasks.delivery.steps import connect

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


class Local(tzinfo):
    """A zone without a name that another process could know."""

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return None if moment is None else timedelta(hours=1)

    def dst(self, moment: datetime | None) -> timedelta | None:
        return None

    def tzname(self, moment: datetime | None) -> str | None:
        return None


@pytest.fixture
def seen(signal: AsyncSignal, settings: Any) -> list[str]:
    path = "signal_tasks.contrib.timezone.TimeZone"
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "CONTEXT": [path]}
    found = []

    def tell(sender: object, **kwargs: Any) -> None:
        found.append(timezone.localtime(NOON).strftime("%H:%M"))

    connect(signal, tell)
    return found


@pytest.mark.parametrize(
    ("zone", "time"),
    [
        (ZoneInfo("Asia/Kathmandu"), "17:45"),
        (fixed_offset(timedelta(hours=-3, minutes=-30)), "08:30"),
        (UTC, "12:00"),
    ],
)
def test_a_receiver_has_the_time_zone_of_its_sender(
    zone: tzinfo, time: str, signal: AsyncSignal, seen: list[str]
) -> None:
    with timezone.override(zone):
        signal.send(sender=None)
    run_pending()
    assert seen == [time]


def test_a_zone_without_a_name_is_refused(signal: AsyncSignal, seen: list[str]) -> None:
    with timezone.override(Local()), pytest.raises(TypeError, match="ZoneInfo"):
        signal.send(sender=None)
