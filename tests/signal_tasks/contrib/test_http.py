"""``Retry-After``, as the usual clients give it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import requests
from django.http import HttpResponse

from signal_tasks.contrib.http import retry_after

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def response(text: str | None) -> requests.Response:
    answer = requests.Response()
    if text is not None:
        answer.headers["retry-after"] = text
    return answer


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thursday, 01-Jan-26 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 14:00:30 +0200", 30.0),
        ("Thu, 01 Jan 2026 12:00:30 -0000", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("1.5", None),
        ("²", None),
        (None, None),
    ],
)
def test_seconds_and_dates_are_read_and_anything_else_is_none(
    text: str | None, seconds: float | None
) -> None:
    assert retry_after(response(text), now=NOW) == seconds


def test_any_other_response_whose_headers_ignore_case_is_read_as_well() -> None:
    answer = HttpResponse(status=429, headers={"retry-after": "7"})
    assert retry_after(answer) == 7.0


def test_a_date_is_counted_from_now() -> None:
    assert retry_after(response("Fri, 01 Jan 2100 00:00:00 GMT")) is not None
