"""The examples of the pages on sending once, merging sends, and loops."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import ModuleType

import pytest
from django.contrib.auth.models import User
from django.db.models import F
from django.db.models.signals import post_save

from signal_tasks import DeliveryHandle
from signal_tasks.models import Attempt, Delivery
from signal_tasks.testing import run_pending
from tests.docs.projects import ROOT

EXAMPLES = ROOT / "docs" / "howto" / "examples"
Load = Callable[[str], ModuleType]
CONNECTED = ("search.receivers.index_user", "users.goes_round", "users.ends")


@pytest.fixture
def load(db: None) -> Iterator[Load]:
    """Load an example, and disconnect in the end what it has connected."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in CONNECTED:
        post_save.disconnect(sender=User, dispatch_uid=name)


def deliveries_of(receiver: str) -> list[DeliveryHandle]:
    """Run what is pending; return what this receiver had of it."""
    return [handle for handle in run_pending() if handle.receiver == receiver]


def test_a_webhook_that_is_called_twice_writes_one_receipt(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    example = load("send_once")
    for _ in range(2):
        example.webhook({"id": "pay_1", "amount": 5})
    example.webhook({"id": "pay_2", "amount": 7})
    run_pending()
    assert capsys.readouterr().out == "a receipt for 5\na receipt for 7\n"


def test_a_webhook_can_tell_the_second_call(load: Load) -> None:
    example = load("send_once")
    payment = {"id": "pay_1", "amount": 5}
    assert example.webhook_that_answers(payment) == "accepted"
    event = Delivery.objects.get().event_id
    expected = f"known already, as event {event}"
    assert example.webhook_that_answers(payment) == expected


def test_many_saves_of_a_user_are_one_write_of_the_index(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    load("coalesce_saves")
    user = User.objects.create(username="0")
    for n in range(1, 20):
        user.username = str(n)
        user.save()
    delivery = Delivery.objects.filter(receiver=CONNECTED[0])
    assert delivery.get().merged == 19
    delivery.update(available_at=F("available_at") - timedelta(seconds=5))
    run_pending()
    assert capsys.readouterr().out == f"index user {user.pk} as 19\n"


def test_the_receiver_that_goes_round_is_dead_and_says_why(load: Load) -> None:
    example = load("end_a_loop")
    example.connect_the_one_that_goes_round()
    user = User.objects.create(username="u", email="U@example.com")
    (delivery,) = deliveries_of("users.goes_round")
    assert (delivery.state, delivery.reason) == ("dead", "rejected")
    page = " ".join((ROOT / "docs" / "loops.md").read_text().split())
    error = Attempt.objects.get().error.replace(f"auth.user:{user.pk}", "auth.user:7")
    start, _, end = error.partition("or connect")
    assert start.removesuffix("; ") + ", ..." in page
    assert end.partition("sender=. ")[2] in page


def test_the_receiver_that_ends_is_called_once_for_each_save(load: Load) -> None:
    load("end_a_loop").connect_the_one_that_ends()
    user = User.objects.create(username="u", email="U@example.com")
    (delivery,) = deliveries_of("users.ends")
    assert delivery.state == "succeeded"
    user.refresh_from_db()
    assert user.email == "u@example.com"


def test_it_is_told_once_how_an_import_has_ended(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    example = load("after_all")
    example.catalogue_imported.send(sender=None, file="march.csv")
    example.catalogue_imported.send(sender=None, file="april.csv")
    run_pending()
    lines = sorted(capsys.readouterr().out.splitlines())
    assert lines == ["april.csv: done", "march.csv: done"]


def test_it_is_told_what_has_failed(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    example = load("after_all")
    example.catalogue_imported.send(sender=None, file="march.csv")
    Delivery.objects.filter(receiver="catalogue.write_index").discard()
    run_pending()
    printed = capsys.readouterr().out
    assert printed == "march.csv: failed: catalogue.write_index\n"
