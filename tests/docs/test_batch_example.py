"""The example of the page on batch receivers."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from types import ModuleType

import pytest
from django.contrib.auth.models import User
from django.db.models.signals import post_save

from signal_tasks.models import Attempt
from signal_tasks.testing import run_pending
from tests.docs.projects import ROOT

NAME = "search.receivers.index_users"
EXAMPLE = ROOT / "docs" / "howto" / "examples" / "index_in_batches.py"


@pytest.fixture
def example(db: None) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("index_in_batches", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    post_save.disconnect(sender=User, dispatch_uid=NAME)


def test_many_users_are_one_request(
    example: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    users = [User.objects.create(username=f"user {n}") for n in range(20)]
    ran = [handle for handle in run_pending() if handle.receiver == NAME]
    assert {handle.state for handle in ran} == {"succeeded"}
    names = ", ".join(user.username for user in users)
    assert capsys.readouterr().out == f"one request for 20 users: {names}\n"


def test_one_that_is_refused_fails_alone(
    example: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("anna", "", "bert"):
        User.objects.create(username=name)
    states = [each.state for each in run_pending() if each.receiver == NAME]
    assert sorted(states) == ["pending", "succeeded", "succeeded"]
    assert capsys.readouterr().out == "one request for 3 users: anna, bert\n"
    attempt = Attempt.objects.get()
    assert (attempt.error_type, attempt.error) == ("NotIndexed", "it has no name")
