"""The login that ``make run`` prints: of a demo, with a password of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from shop.stack import OPERATOR, OPERATOR_PASSWORD

pytestmark = pytest.mark.django_db


@pytest.fixture
def file(settings: Any, tmp_path: Path) -> Path:
    settings.DEBUG = settings.SHOP_DEMO = True
    settings.VAR_DIR = tmp_path
    return tmp_path / OPERATOR_PASSWORD


def test_the_operator_may_use_all_but_the_accounts(file: Path) -> None:
    call_command("demo_login")
    browser = Client()
    assert browser.login(username=OPERATOR, password=file.read_text())
    for page in ("/signals/", "/inbox/", "/admin/signal_tasks/delivery/", "/orders/"):
        assert browser.get(page).status_code == 200
    assert browser.get("/admin/auth/user/").status_code == 403
    assert file.stat().st_mode & 0o777 == 0o600


def test_it_stays_the_same_in_one_folder_and_is_another_in_another(file: Path) -> None:
    call_command("demo_login")
    first = file.read_text()
    call_command("demo_login")
    assert file.read_text() == first
    User.objects.get().delete()
    call_command("demo_login")
    assert file.read_text() != first


def test_a_password_that_somebody_has_chosen_is_kept_and_not_told(file: Path) -> None:
    User.objects.create_user(OPERATOR, password="chosen by hand")
    file.write_text("of another database")
    call_command("demo_login")
    assert not file.exists()
    assert Client().login(username=OPERATOR, password="chosen by hand")


@pytest.mark.parametrize(
    ("debug", "wanted"), [(False, True), (True, False), (False, False)]
)
def test_a_deployment_has_no_operator(file, settings, debug, wanted, capsys):
    settings.DEBUG, settings.SHOP_DEMO = debug, wanted
    call_command("demo_login")
    assert "no operator is made" in capsys.readouterr().out
    assert not User.objects.exists()
    assert not file.exists()
