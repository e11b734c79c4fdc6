"""What people change by the dashboard: asked first, authorised on the server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from signal_tasks import AsyncSignal, operations
from signal_tasks.dashboard import choosing
from signal_tasks.dashboard.forms import OperationForm
from signal_tasks.models import (
    AuditEntry,
    Control,
    Delivery,
    FailureGroup,
    Operation,
)
from signal_tasks.operations import Selection
from signal_tasks.states import OperationState
from signal_tasks.testing import run_pending
from tests.signal_tasks.admin.conftest import Fields
from tests.signal_tasks.conftest import finish, listen
from tests.signal_tasks.dashboard.conftest import die, text

pytestmark = pytest.mark.django_db

NEW = "/signals/operations/new/"


def ask(client: Client, **query: Any) -> Any:
    return client.get(NEW, query)


def confirm(client: Client, asked: Any, **filled: Any) -> Any:
    """Fill in the dialogue that was answered, and send it."""
    hidden = Fields(text(asked)).found
    return client.post(NEW, {**hidden, "reason": "mended", **filled})


# -- the dialogue -------------------------------------------------------------------


def test_a_group_is_replayed_after_it_was_asked_for(
    operator: Client, failing: AsyncSignal
) -> None:
    die(failing, 3)
    group = FailureGroup.objects.get()
    asked = ask(operator, verb="replay", group=group.pk)
    seen = text(asked)
    assert "Replay 3 deliveries?" in seen
    assert f"in the failure group {group.pk}" in seen.lower()
    assert "They died of" in seen
    assert ">ValueError</a> in t.<wbr>failing: on purpose" in seen
    assert f"manage.py signal_tasks replay --group {group.pk}" in seen
    assert not Operation.objects.exists()

    answer = confirm(operator, asked, canary="on", rate="100/m")
    operation = Operation.objects.get()
    assert answer.headers["Location"] == f"/signals/operations/{operation.pk}/"
    assert (operation.kind, operation.by) == ("replay", "operator")
    assert (operation.reason, operation.rate) == ("mended", "100/m")
    assert operation.canary
    page = text(operator.get(answer.headers["Location"]))
    assert "mended" in page
    assert "in growing steps, at most 100/m" in page


def test_one_delivery_is_discarded_by_its_id(operator: Client, dead: Delivery) -> None:
    asked = ask(operator, verb="discard", id=dead.pk)
    assert "Discard 1 delivery?" in text(asked)
    confirm(operator, asked)
    operations.recent()[0].work_off()
    dead.refresh_from_db()
    assert dead.state == "discarded"


def test_what_dies_after_the_question_is_not_meant(
    operator: Client, failing: AsyncSignal
) -> None:
    die(failing, 1)
    asked = ask(operator, verb="discard", receiver="t.failing", state="dead")
    die(failing, 1)
    confirm(operator, asked)
    operations.recent()[0].work_off()
    assert sorted(Delivery.objects.values_list("state", flat=True)) == [
        "dead",
        "discarded",
    ]


def test_a_reason_is_asked_for(operator: Client, dead: Delivery) -> None:
    answer = confirm(operator, ask(operator, verb="replay", id=dead.pk), reason=" ")
    assert "This field is required." in text(answer)
    assert not Operation.objects.exists()


def test_a_rate_that_is_none_is_refused(operator: Client, dead: Delivery) -> None:
    asked = ask(operator, verb="replay", id=dead.pk)
    assert 'role="alert"' in text(confirm(operator, asked, rate="often"))
    assert not Operation.objects.exists()


@pytest.mark.parametrize("verb", ["replay", "discard"])
def test_each_verb_needs_its_permission_to_ask_and_to_confirm(
    verb: str, operator: Client, pages: Client, dead: Delivery
) -> None:
    assert ask(pages, verb=verb, id=dead.pk).status_code == 403
    hidden = Fields(text(ask(operator, verb=verb, id=dead.pk))).found
    answer = pages.post(NEW, {**hidden, "reason": "mended"})
    assert answer.status_code == 403
    assert not Operation.objects.exists()


def test_who_may_replay_may_not_discard(
    may: Callable[..., Client], dead: Delivery
) -> None:
    client = may("replay_delivery")
    assert ask(client, verb="replay", id=dead.pk).status_code == 200
    assert ask(client, verb="discard", id=dead.pk).status_code == 403


def test_a_selection_that_was_not_made_here_is_refused(operator: Client) -> None:
    for forged in ("", "x", "a:b:c"):
        answer = operator.post(NEW, {"choice": forged, "reason": "mended"})
        assert answer.status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        {"verb": "replay"},
        {"verb": "erase", "state": "dead"},
        {"verb": "replay", "id": "x"},
        {"verb": "replay", "state": "deaf"},
        {"verb": "replay", "receiver": "t", "since": "yesterday"},
        {"verb": "replay", "receiver": "t", "since": "0001-01-01T00:00+10:00"},
        {"verb": "replay", "receiver": "a\0b"},
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(
    operator: Client, query: dict[str, str]
) -> None:
    assert operator.get(NEW, query).status_code == 400


def test_nothing_is_said_to_be_nothing(operator: Client) -> None:
    seen = text(ask(operator, verb="replay", receiver="t.nobody"))
    assert "Nothing to replay" in seen
    assert 'method="post"' not in seen


def test_above_a_thousand_the_number_is_typed() -> None:
    given = {"reason": "mended"}
    for typed, is_right in (("", False), ("1500", False), ("1,501", True)):
        form = OperationForm({**given, "typed": typed}, verb="replay", number=1501)
        assert form.is_valid() is is_right
    assert OperationForm(given, verb="replay", number=1000).is_valid()


def test_more_than_can_be_counted_is_said_so(
    operator: Client, failing: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    die(failing, 3)
    module = "signal_tasks.dashboard.views.operations.MAX_COUNTED"
    monkeypatch.setattr(module, 2)
    asked = ask(operator, verb="replay", receiver="t.failing", state="dead")
    assert "more than 2 deliveries" in text(asked)


def test_a_choice_survives_its_signature() -> None:
    selection = Selection(receiver="t", state="dead")
    choice = choosing.Choice(verb="replay", selection=selection, number=5)
    assert choosing.confirmed(choice.signed()) == choice


# -- operations ---------------------------------------------------------------------


@pytest.fixture
def operation(dead: Delivery) -> operations.Operation:
    return operations.replay(Selection(receiver="t.failing"), by="ada")


def test_an_operation_is_cancelled_with_a_reason(
    operator: Client, operation: operations.Operation
) -> None:
    page = f"/signals/operations/{operation.id}/"
    assert "Cancel it" in text(operator.get(page))
    operator.post(f"{page}cancel/", {"reason": "the wrong ones"})
    assert operation.refresh().state == "cancelled"
    entry = AuditEntry.objects.get(verb="cancel")
    assert (entry.by, entry.reason) == ("operator", "the wrong ones")
    assert "Cancel it" not in text(operator.get(page))


def test_what_is_not_stopped_is_not_resumed(
    operator: Client, operation: operations.Operation
) -> None:
    answer = operator.post(f"/signals/operations/{operation.id}/resume/")
    assert "is not stopped" in text(answer, 400)


def test_a_stopped_operation_goes_on(
    operator: Client, operation: operations.Operation
) -> None:
    row = Operation.objects.get()
    row.finish(OperationState.STOPPED, "the canary failed")
    row.save()
    page = f"/signals/operations/{operation.id}/"
    seen = text(operator.get(page))
    assert "the canary failed" in seen
    assert "Go on: with what it has not reached; what has failed in it is not" in seen
    Operation.objects.update(canary=True)
    assert "with a step of the size that has failed" in text(operator.get(page))
    operator.post(f"{page}resume/")
    assert operation.refresh().state == "running"


@pytest.mark.parametrize("verb", ["cancel", "resume"])
def test_a_viewer_does_not_steer_operations(
    pages: Client, operation: operations.Operation, verb: str
) -> None:
    answer = pages.post(f"/signals/operations/{operation.id}/{verb}/")
    assert answer.status_code == 403
    assert operation.refresh().is_open


# -- controls and notes -------------------------------------------------------------


CONTROL = "/signals/control/"


def test_a_receiver_is_paused_and_resumed(
    operator: Client, signal: AsyncSignal
) -> None:
    listen(signal, name="t.steered")
    given = {"target": "receiver:t.steered", "reason": "calm", "until": "2h"}
    answer = operator.post(CONTROL, {"verb": "pause", **given})
    assert answer.headers["Location"] == "/signals/receivers/t.steered/"
    control = Control.objects.get()
    assert (control.kind, control.by, control.reason) == ("pause", "operator", "calm")
    assert control.until is not None
    operator.post(CONTROL, {"verb": "resume", **given})
    assert not Control.objects.exists()


def test_a_receiver_is_limited_and_cleared(
    operator: Client, signal: AsyncSignal
) -> None:
    listen(signal, name="t.steered")
    given = {"target": "receiver:t.steered", "rate": "100/m", "max_concurrency": "4"}
    operator.post(CONTROL, {"verb": "limit", **given})
    control = Control.objects.get()
    assert (control.rate, control.max_concurrency) == ("100/m", 4)
    operator.post(CONTROL, {"verb": "clear", **given})
    assert not Control.objects.exists()


@pytest.mark.parametrize(
    "given",
    [
        {"verb": "pause", "target": "receiver:t", "until": "yesterday"},
        {"verb": "pause", "target": "no such name"},
        {"verb": "pause", "target": "receiver:a\nb"},
        {"verb": "limit", "target": "receiver:t"},
        {"verb": "limit", "target": "receiver:t", "rate": "often"},
        {"verb": "limit", "target": "receiver:t", "max_concurrency": "-1"},
        {"verb": "resume", "target": "receiver:t"},
        {"verb": "erase", "target": "receiver:t"},
        {"verb": "pause"},
    ],
)
def test_a_control_that_makes_no_sense_is_refused(
    operator: Client, given: dict[str, str]
) -> None:
    assert "Nothing was changed" in text(operator.post(CONTROL, given), 400)
    assert not Control.objects.exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "<li>Fill in Rate or At a time, or both. To end a limit, press Clear."),
        ({"rate": "often"}, "<li>Rate: Type a number of deliveries a second"),
        ({"max_concurrency": "0"}, "<li>At a time: Type a number above 0."),
        ({"max_concurrency": "many"}, "<li>At a time: Type a whole number"),
        ({"max_concurrency": "9" * 20}, "<li>At a time: Type a smaller number."),
        ({"rate": "1/s", "until": "yesterday"}, "<li>Until: "),
    ],
)
def test_a_limit_that_is_refused_names_the_labels_of_its_form(
    operator: Client, given: dict[str, str], said: str
) -> None:
    wanted = {"verb": "limit", "target": "receiver:t", **given}
    seen = text(operator.post(CONTROL, wanted), 400)
    assert said in seen
    assert "max_concurrency" not in seen


def test_a_target_that_no_page_can_have_leads_to_the_catalogue(
    operator: Client,
) -> None:
    answer = operator.get(CONTROL, {"target": "receiver:a\nb"})
    assert answer.headers["Location"] == "/signals/receivers/"


@pytest.mark.parametrize("verb", ["pause", "resume", "limit", "clear"])
def test_a_viewer_steers_nothing(pages: Client, verb: str) -> None:
    given = {"verb": verb, "target": "receiver:t", "rate": "1/s"}
    assert pages.post(CONTROL, given).status_code == 403


def test_who_may_pause_may_not_limit(may: Callable[..., Client]) -> None:
    client = may("pause_target")
    given = {"target": "receiver:t", "rate": "1/s"}
    assert client.post(CONTROL, {"verb": "limit", **given}).status_code == 403
    assert client.post(CONTROL, {"verb": "pause", **given}).status_code == 302


def test_a_note_is_written_on_a_group(operator: Client, dead: Delivery) -> None:
    group = FailureGroup.objects.get()
    operator.post(f"/signals/dead/{group.pk}/note/", {"note": "known"})
    group.refresh_from_db()
    assert group.note == "known"
    assert AuditEntry.objects.get().by == "operator"


def test_a_viewer_writes_no_notes(pages: Client, dead: Delivery) -> None:
    group = FailureGroup.objects.get()
    answer = pages.post(f"/signals/dead/{group.pk}/note/", {"note": "known"})
    assert answer.status_code == 403


def test_a_note_on_nothing_is_not_found(operator: Client) -> None:
    answer = operator.post("/signals/dead/nothing/note/", {"note": "known"})
    assert answer.status_code == 404


def test_forms_are_refused_without_their_token(
    operator: Client, dead: Delivery
) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies
    group = FailureGroup.objects.get()
    paths = (NEW, CONTROL, f"/signals/dead/{group.pk}/note/", "/signals/acknowledge/")
    for path in paths:
        assert strict.post(path, {"note": "known"}).status_code == 403
    run_pending()


@dataclass
class Blocking:
    """A dead letter of t.ordered, behind which another delivery waits."""

    page: str
    calls: list[Any]


@pytest.fixture
def blocking(signal: AsyncSignal) -> Blocking:
    calls = listen(signal, name="t.ordered", ordered=True)
    for number in range(2):
        signal.using(key="k").send(sender=None, number=number)
    first = Delivery.objects.order_by("pk")[0]
    finish(Delivery.objects.filter(pk=first.pk), "dead")
    return Blocking(f"/signals/deliveries/{first.pk}/", calls)


def test_a_dead_letter_is_skipped_for_those_behind_it(
    operator: Client, pages: Client, blocking: Blocking
) -> None:
    skip = f"{blocking.page}skip/"
    assert f'href="{skip}"' in text(operator.get(blocking.page))
    assert pages.post(skip).status_code == 403
    asked = text(operator.get(skip))
    assert "1 delivery waits behind it" in asked
    operator.post(skip, {**Fields(asked).found, "reason": "a duplicate"})
    run_pending()
    assert [call["number"] for call in blocking.calls] == [1]


def test_a_skip_without_a_reason_is_asked_for_it(
    operator: Client, blocking: Blocking
) -> None:
    answer = operator.post(f"{blocking.page}skip/", {"reason": " "})
    assert "This field is required." in text(answer)
    assert not AuditEntry.objects.exists()


def test_a_delivery_says_that_it_was_skipped_by_whom_and_why(
    operator: Client, pages: Client, blocking: Blocking
) -> None:
    assert "skipped by" not in text(pages.get(blocking.page))
    operator.post(f"{blocking.page}skip/", {"reason": "a duplicate"})
    seen = text(pages.get(blocking.page))
    assert "skipped by operator" in seen
    assert "a duplicate" in seen
    assert "Nothing to skip" in text(operator.get(f"{blocking.page}skip/"))


def test_what_blocks_nothing_is_not_skipped(operator: Client, dead: Delivery) -> None:
    page = f"/signals/deliveries/{dead.pk}/skip/"
    assert "Nothing to skip" in text(operator.get(page))
    answer = operator.post(page, {"reason": "a duplicate"})
    assert "nothing waits behind it" in text(answer, 400)


def test_dead_letters_are_acknowledged_by_who_may_write_notes(
    operator: Client, pages: Client, dead: Delivery
) -> None:
    assert "died and nobody has looked" in text(pages.get("/signals/"))
    assert pages.post("/signals/acknowledge/").status_code == 403
    operator.post("/signals/acknowledge/", {"reason": "known"})
    assert "died and nobody has looked" not in text(pages.get("/signals/"))
    entry = AuditEntry.objects.get(verb="acknowledge")
    assert (entry.by, entry.reason) == ("operator", "known")
