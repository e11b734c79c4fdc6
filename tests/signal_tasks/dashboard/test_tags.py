"""Names, times and sentences as templates of the dashboard write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django import template
from django.utils import timezone

from signal_tasks.dashboard.templatetags.signal_tasks_dashboard import (
    age,
    breakable,
    commands,
    place,
    precise,
)


def test_a_name_breaks_at_its_dots_and_lets_no_markup_through() -> None:
    assert breakable("a.b_c<i>") == "a.<wbr>b_<wbr>c&lt;i&gt;"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 s"), (59, "59 s"), (61, "1 min"), (7300, "2 h"), (180_000, "2 d")],
)
def test_an_age_is_told_in_its_longest_unit(seconds: int, words: str) -> None:
    assert age(timezone.now() - timedelta(seconds=seconds)) == words


def test_a_moment_is_told_to_the_millisecond() -> None:
    moment = datetime(2026, 5, 4, 3, 2, 1, 987654, tzinfo=UTC)
    assert precise(moment).endswith("02:01.987")


def test_commands_stand_out_of_a_sentence() -> None:
    sentence = "See: manage.py signal_tasks dead; start: celery -A <app> worker"
    assert commands(sentence) == (
        "See: <code>manage.py signal_tasks dead</code>; "
        "start: <code>celery -A &lt;app&gt; worker</code>"
    )


def test_a_sentence_without_a_command_stays_as_it_is() -> None:
    assert commands("It's <well>.") == "It&#x27;s &lt;well&gt;."


def test_the_page_of_a_problem_is_found_below_the_dashboard() -> None:
    other = template.Context({"database": "b", "databases": ["a", "b"]})
    assert place(other, "dead/") == "/signals/dead/?database=b"
    assert place(template.Context(), "receivers/a b/") == "/signals/receivers/a%20b/"
