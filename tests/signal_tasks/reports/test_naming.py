"""The receivers that the text of a filter stands for."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from signal_tasks import AsyncSignal
from signal_tasks.models import Delivery, FailureGroup
from signal_tasks.reports import naming
from signal_tasks.reports.naming import receivers_with
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen

pytestmark = pytest.mark.django_db


def failed(*names: str) -> None:
    """Have receivers of other code leave failure groups."""
    for name in names:
        FailureGroup.objects.create(
            pk=f"{FailureGroup.objects.count():016x}",
            receiver=name,
            error_type="ValueError",
        )


def test_nothing_stands_for_no_receiver() -> None:
    found = receivers_with("default", "")
    assert (found.names, found.words) == ([], "")


def test_the_name_of_a_receiver_of_this_process_is_looked_up_nowhere(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.ship")
    with CaptureQueriesContext(connection) as queries:
        found = receivers_with("default", "t.ship")
    assert (found.names, found.words, len(queries)) == (["t.ship"], "of t.ship", 0)


def test_the_name_of_a_receiver_of_other_code_is_no_part_of_another() -> None:
    failed("t.ship", "t.ship_v2")
    assert receivers_with("default", "t.ship").names == ["t.ship"]


def test_a_name_that_only_a_live_or_a_dead_delivery_has_is_one(
    failing: AsyncSignal,
) -> None:
    failing.send(sender=None)
    Delivery.objects.update(receiver="t.fail", orphaned=True)
    assert receivers_with("default", "t.fail").names == ["t.fail"]
    Delivery.objects.update(receiver="t.failing", orphaned=False)
    run_pending()
    Delivery.objects.update(receiver="t.fail")
    assert Delivery.objects.get().state == "dead"
    assert receivers_with("default", "t.fail").names == ["t.fail"]


def test_what_is_a_part_of_names_may_be_a_name_as_well() -> None:
    failed("t.ship_v2", "t.ship_v3")
    found = receivers_with("default", "t.ship")
    assert found.names == ["t.ship", "t.ship_v2", "t.ship_v3"]
    assert found.words == "of receivers with t.ship in their name"


@pytest.mark.parametrize("part", ["SHIP", "ship", "Straße", "STRASSE"])
def test_a_part_of_a_name_is_found_in_any_case(part: str) -> None:
    failed("t.Ship_Straße")
    found = receivers_with("default", part)
    assert found.found == ["t.Ship_Straße"]
    assert found.words == "of t.Ship_Straße"


@pytest.mark.parametrize("part", ["%", "t_ship", "t%p", "\\"])
def test_a_part_of_a_name_is_no_pattern(part: str) -> None:
    failed("t.ship")
    assert receivers_with("default", part).names == [part]


def test_of_very_many_names_the_first_are_taken_and_it_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(naming, "MAX_NAMES", 2)
    failed("t.a_ship", "t.b_ship")
    assert not receivers_with("default", "ship").is_cut
    failed("t.c_ship", "ship")
    found = receivers_with("default", "t.")
    assert (found.found, found.is_cut) == (["t.a_ship", "t.b_ship"], True)
    assert found.words == "of the first 2 receivers with t. in their name"
    assert receivers_with("default", "ship").names == ["ship"]


def test_receivers_that_have_done_nothing_take_no_place(signal: AsyncSignal) -> None:
    failed("t.ship")
    for number in range(naming.MAX_NAMES + 1):
        listen(signal, name=f"t.a{number}_ship")
    found = receivers_with("default", "ship")
    assert (found.found, found.is_cut) == (["t.ship"], False)
