"""Past events get to a new receiver by the dialogue: asked, counted, refused in words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from signal_tasks import AsyncSignal
from signal_tasks.models import AuditEntry, Delivery, Event, Operation
from signal_tasks.operations import recent
from tests.signal_tasks.admin.conftest import Fields
from tests.signal_tasks.conftest import listen, send
from tests.signal_tasks.dashboard.conftest import text

pytestmark = pytest.mark.django_db

NEW = "/signals/operations/new/"
WANTED = {"verb": "backfill", "receiver": "t.late"}


@pytest.fixture
def past(signal: AsyncSignal) -> AsyncSignal:
    """A signal that was sent three times before ``t.late`` was connected."""
    listen(signal, name="t.early")
    for number in range(3):
        send(signal, number=number)
    listen(signal, name="t.late")
    return signal


@pytest.fixture
def keeper(may: Callable[..., Client]) -> Client:
    """The browser of somebody who may backfill."""
    return may("backfill_operation")


def confirm(client: Client, asked: Any, **filled: Any) -> Any:
    hidden = Fields(text(asked)).found
    return client.post(NEW, {**hidden, "reason": "it is new", **filled})


@pytest.mark.usefixtures("past")
def test_a_receiver_gets_the_events_before_it(keeper: Client) -> None:
    page = text(keeper.get("/signals/receivers/t.late/"))
    assert f"{NEW}?verb=backfill&amp;receiver=t.late" in page
    assert "signal_tasks backfill --receiver t.late --since 3d" in page
    assert "Sent since" in text(keeper.get(NEW, WANTED))

    asked = keeper.get(NEW, {**WANTED, "since": "2h"})
    seen = text(asked)
    assert "Backfill 3 past events?" in seen
    assert "Past events sent at or after" in seen
    assert "that t.late has no delivery of." in seen
    assert "signal_tasks backfill --receiver t.late --since" in seen

    answer = confirm(keeper, asked, rate="100/s")
    operation = Operation.objects.get()
    assert answer.headers["Location"] == f"/signals/operations/{operation.pk}/"
    assert (operation.kind, operation.by) == ("backfill", "some")
    assert (operation.reason, operation.rate) == ("it is new", "100/s")
    assert AuditEntry.objects.get().target.startswith("past events sent at or after")
    recent()[0].work_off()
    assert Delivery.objects.filter(receiver="t.late").count() == 3
    page = text(keeper.get(answer.headers["Location"]))
    assert "Backfill of past events sent at or after" in page
    assert "Nothing to backfill" in text(keeper.get(NEW, {**WANTED, "since": "2h"}))


def test_what_is_sent_after_the_question_is_not_meant(
    keeper: Client, past: AsyncSignal
) -> None:
    asked = keeper.get(NEW, {**WANTED, "since": "2h"})
    past.send(sender=None)
    Delivery.objects.filter(receiver="t.late").delete()
    confirm(keeper, asked)
    recent()[0].work_off()
    assert Delivery.objects.filter(receiver="t.late").count() == 3


@pytest.mark.usefixtures("past")
def test_events_of_another_signal_are_not_meant(keeper: Client) -> None:
    asked = keeper.get(NEW, {**WANTED, "since": "2h", "signal": "t.no_such"})
    assert "t.late is not connected to t.no_such" in text(asked, 400)


@pytest.mark.usefixtures("past")
def test_what_may_have_been_pruned_is_refused_in_words(
    keeper: Client, settings: Any
) -> None:
    keep = {"KEEP_SUCCEEDED": timedelta(hours=3)}
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, **keep}
    seen = text(keeper.get(NEW, {**WANTED, "since": "3d"}), 400)
    assert "KEEP_SUCCEEDED" in seen
    assert "at the earliest" in seen
    assert 'value="3d"' in seen  # to be mended


@pytest.mark.usefixtures("past")
def test_what_was_pruned_meanwhile_is_refused(keeper: Client, settings: Any) -> None:
    asked = keeper.get(NEW, {**WANTED, "since": "2h"})
    keep = {"KEEP_SUCCEEDED": timedelta(hours=1)}
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, **keep}
    assert "KEEP_SUCCEEDED" in text(confirm(keeper, asked), 400)
    assert not Operation.objects.exists()


def test_an_ordered_receiver_is_offered_none(
    keeper: Client, signal: AsyncSignal
) -> None:
    listen(signal, name="t.late", ordered=True)
    assert "verb=backfill" not in text(keeper.get("/signals/receivers/t.late/"))
    seen = text(keeper.get(NEW, {**WANTED, "since": "2h"}), 400)
    assert "ordered=True" in seen


@pytest.mark.parametrize(
    "given",
    [
        {"receiver": "t.nobody", "since": "2h"},
        {"receiver": "", "since": "2h"},
        {"receiver": "t.late", "since": "yesterday"},
        {"receiver": "t.late", "since": "2h", "until": "3h"},
        {"receiver": "t.late", "since": "2h", "signal": "a\0b"},
    ],
)
@pytest.mark.usefixtures("past")
def test_what_makes_no_sense_is_refused(keeper: Client, given: dict[str, str]) -> None:
    seen = text(keeper.get(NEW, {"verb": "backfill", **given}), 400)
    assert 'role="alert"' in seen


@pytest.mark.usefixtures("past")
def test_it_needs_its_permission_to_ask_and_to_confirm(
    keeper: Client, pages: Client, operator: Client
) -> None:
    assert "verb=backfill" not in text(pages.get("/signals/receivers/t.late/"))
    asked = keeper.get(NEW, {**WANTED, "since": "2h"})
    hidden = Fields(text(asked)).found
    for other in (pages, operator):
        assert other.get(NEW, {**WANTED, "since": "2h"}).status_code == 403
        assert other.post(NEW, {**hidden, "reason": "new"}).status_code == 403
    assert not Operation.objects.exists()


@pytest.mark.usefixtures("past")
def test_more_than_can_be_counted_is_said_so(
    keeper: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "signal_tasks.dashboard.views.operations.MAX_COUNTED"
    monkeypatch.setattr(module, 2)
    seen = text(keeper.get(NEW, {**WANTED, "since": "2h"}))
    assert "Backfill more than 2 past events?" in seen
    assert Event.objects.count() == 3
