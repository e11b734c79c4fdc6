"""Each address of the dashboard asks for its permission; none can be forgotten here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from signal_tasks import AsyncSignal, operations
from signal_tasks.dashboard import urls
from signal_tasks.dashboard.choosing import Choice
from signal_tasks.models import (
    AuditEntry,
    Control,
    Delivery,
    FailureGroup,
    Operation,
)
from signal_tasks.operations import Selection
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.dashboard.conftest import OPERATOR, logged_in, user

pytestmark = pytest.mark.django_db

#: Everything that a viewer may not do.
EVERY = (*OPERATOR, "backfill_operation")
Form = tuple[str, dict[str, str], str]


@pytest.fixture
def things(dead: Delivery) -> dict[str, list[Any]]:
    """The subjects of the addresses of one thing, by the names of their patterns."""
    group = FailureGroup.objects.get()
    open_one = operations.replay(Selection(receiver="t.failing"))
    return {
        "event": [dead.event_id],
        "delivery": [dead.pk],
        "skip": [dead.pk],
        "group": [group.pk],
        "note": [group.pk],
        "operation": [open_one.id],
        "cancel": [open_one.id],
        "resume": [open_one.id],
        "receiver": ["t.failing"],
    }


def addresses(things: dict[str, list[Any]]) -> Iterator[str]:
    """Yield every address of the dashboard."""
    for pattern in urls.urlpatterns:
        yield reverse(
            f"signal_tasks:{pattern.name}", args=things.get(str(pattern.name), ())
        )


@pytest.fixture
def forms(things: dict[str, list[Any]], signal: AsyncSignal) -> list[Form]:
    """Each form that changes something: its pattern, what it says, what it needs."""
    listen(signal, name="t.steered")
    target = {"target": "receiver:t.steered", "reason": "calm", "rate": "1/s"}
    reason = {"reason": "mended"}
    return [
        ("skip", reason, "discard_delivery"),
        ("note", {"note": "known"}, "annotate_failuregroup"),
        ("acknowledge", reason, "annotate_failuregroup"),
        ("cancel", reason, "cancel_operation"),
        ("resume", reason, "cancel_operation"),
        ("control", {"verb": "pause", **target}, "pause_target"),
        ("control", {"verb": "resume", **target}, "pause_target"),
        ("control", {"verb": "limit", **target}, "limit_target"),
        ("control", {"verb": "clear", **target}, "limit_target"),
        ("new_operation", _choice("replay"), "replay_delivery"),
        ("new_operation", _choice("discard"), "discard_delivery"),
        ("new_operation", _choice("backfill"), "backfill_operation"),
    ]


def _choice(verb: str) -> dict[str, str]:
    selection = Selection(receiver="t.failing", state="dead")
    if verb == "backfill":
        selection = Selection(receiver="t.failing", since=timedelta(hours=1))
    choice = Choice(verb=verb, selection=selection, number=1)
    return {"choice": choice.signed(), "reason": "mended"}


def state() -> Any:
    """Return all that a form may change."""
    return (
        list(Delivery.objects.values_list("pk", "state", "run").order_by("pk")),
        list(Operation.objects.values_list("pk", "state").order_by("pk")),
        list(FailureGroup.objects.values_list("pk", "note")),
        list(Control.objects.values_list("target", "kind")),
        AuditEntry.objects.count(),
    )


def test_every_address_is_for_viewers(
    things: dict[str, list[Any]], client: Client
) -> None:
    nobody = logged_in(User.objects.create_user("nobody"))
    able = logged_in(user("able", *EVERY))  # to do anything, but not to view
    for address in addresses(things):
        for method in ("get", "post"):
            anonymous = getattr(client, method)(address)
            assert anonymous.status_code == 302, address
            assert anonymous.headers["Location"].startswith("/accounts/login/")
            assert getattr(nobody, method)(address).status_code == 403, address
            assert getattr(able, method)(address).status_code == 403, address


def test_a_viewer_sees_everything_and_changes_nothing(
    things: dict[str, list[Any]], forms: list[Form], pages: Client
) -> None:
    before = state()
    for address in addresses(things):
        if pages.post(address).status_code == 405:
            assert pages.get(address).status_code == 200, address
    for name, filled, _ in forms:
        address = reverse(f"signal_tasks:{name}", args=things.get(name, ()))
        assert pages.post(address, filled).status_code == 403, name
    assert state() == before


def test_who_logs_in_after_a_form_was_sent_gets_a_page(
    things: dict[str, list[Any]], forms: list[Form], client: Client
) -> None:
    able = logged_in(user("able", "view_delivery", *EVERY))
    for name, filled, _ in forms:
        if name == "new_operation":  # its address says what was asked
            continue
        address = reverse(f"signal_tasks:{name}", args=things.get(name, ()))
        (after,) = parse_qs(
            urlsplit(client.post(address, filled).headers["Location"]).query
        )["next"]
        answer = able.get(after, follow=True)
        assert answer.status_code == 200, name


def test_who_logs_in_after_a_control_was_sent_gets_the_page_of_its_receiver(
    pages: Client,
) -> None:
    answer = pages.get("/signals/control/", {"target": "receiver:t.r"})
    assert answer.headers["Location"] == "/signals/receivers/t.r/"


def test_every_address_that_takes_a_form_is_tried_here(
    things: dict[str, list[Any]], forms: list[Form], pages: Client
) -> None:
    tried = {name for name, _, _ in forms}
    for pattern in urls.urlpatterns:
        name = str(pattern.name)
        address = reverse(f"signal_tasks:{name}", args=things.get(name, ()))
        takes_forms = pages.post(address).status_code != 405
        assert takes_forms == (name in tried), name


def test_each_form_needs_the_permission_of_its_verb_alone(
    things: dict[str, list[Any]], forms: list[Form], signal: AsyncSignal
) -> None:
    before = state()
    for number, (name, filled, needed) in enumerate(forms):
        address = reverse(f"signal_tasks:{name}", args=things.get(name, ()))
        others = [each for each in EVERY if each != needed]
        without = logged_in(user(f"without-{number}", "view_delivery", *others))
        assert without.post(address, filled).status_code == 403, (name, filled)
        assert state() == before
    for number, (name, filled, needed) in enumerate(forms):
        address = reverse(f"signal_tasks:{name}", args=things.get(name, ()))
        just = logged_in(user(f"just-{number}", "view_delivery", needed))
        assert just.post(address, filled).status_code != 403, (name, filled)
    assert state() != before
