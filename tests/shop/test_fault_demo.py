"""The page that breaks things: in development, and nowhere else."""

from __future__ import annotations

import re
import threading
import time

import pytest
from django.core import mail

from orders.models import Order
from products.models import StockMovement
from shop.fault_demo import faults
from shop.stack import KILL_A_WORKER
from signal_tasks.testing import run_pending

pytestmark = pytest.mark.django_db
PAGES = ("/machine/", "/machine/totals/", "/machine/emails/")
BUTTONS = tuple(
    f"/machine/{b}/" for b in ("orders", "mail/break", "mail/repair", "replay", "kill")
)


@pytest.fixture
def demo(settings, tmp_path):
    settings.DEBUG = settings.SHOP_DEMO = True
    settings.VAR_DIR = tmp_path
    settings.SHOP_MAIL_BACKEND = settings.EMAIL_BACKEND
    settings.EMAIL_BACKEND = "shop.fault_demo.faults.BreakableBackend"
    return tmp_path


@pytest.mark.parametrize(
    ("debug", "wanted"), [(False, True), (True, False), (False, False)]
)
def test_outside_of_a_demonstration_there_is_no_such_page(
    admin_client, settings, tmp_path, debug, wanted
):
    settings.VAR_DIR = tmp_path
    settings.DEBUG, settings.SHOP_DEMO = debug, wanted
    assert {admin_client.get(page).status_code for page in PAGES} == {404}
    assert {admin_client.post(button).status_code for button in BUTTONS} == {404}
    assert list(tmp_path.iterdir()) == []
    assert not Order.objects.exists()


def test_whoever_tries_the_shop_out_finds_the_links_of_its_emails(
    client, demo, settings, mug
):
    settings.SHOP_MAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    settings.EMAIL_FILE_PATH = str(demo / "mail")
    order = {"product": mug.slug, "quantity": 1, "name": "A", "email": "a@example.com"}
    client.post("/orders/", order)
    assert "No email yet" in client.get("/machine/emails/").text
    run_pending()
    page = client.get("/machine/emails/").text
    link = re.search(r'href="http://localhost:8000(/proof/[^"]+)"', page)
    assert link is not None
    assert client.get(link[1]).status_code == 200


def test_emails_that_go_to_a_mail_server_are_not_shown(client, demo, settings):
    settings.EMAIL_FILE_PATH = ""
    assert "EMAIL_URL" in client.get("/machine/emails/").text


def test_no_button_is_pressed_by_following_a_link(client, demo):
    assert {client.get(button).status_code for button in BUTTONS} == {405}


def test_the_totals_of_a_hundred_orders_are_equal_in_the_end(client, demo, mug):
    page = client.post("/machine/orders/", follow=True).content.decode()
    assert "100 orders are confirmed" in page
    assert "Not there yet: 200 still to be done." in page
    run_pending()
    assert "100 = 100 = 100" in client.get("/machine/totals/").content.decode()
    assert StockMovement.objects.count() == 100


def test_a_broken_mail_server_delays_mails_and_nothing_else(
    client, demo, confirmed, mug
):
    client.post("/machine/mail/break/")
    confirmed((mug, 1))
    states = {one.receiver.rpartition(".")[2]: one.state for one in run_pending()}
    assert states == {
        "update_inventory": "succeeded",
        "send_order_confirmation": "pending",
    }
    assert mail.outbox == []
    assert "mail server down" in client.get("/machine/").content.decode()
    client.post("/machine/mail/repair/")
    deadline = time.monotonic() + 10  # its next attempt is due within two seconds
    while not mail.outbox and time.monotonic() < deadline:
        time.sleep(0.1)
        run_pending()
    assert len(mail.outbox) == 1


def test_dead_deliveries_are_replayed_when_the_mail_server_is_repaired(
    client, post_office, demo, confirmed, mug
):
    order = confirmed((mug, 1))
    post_office.answers[order.customer_email] = "550 No such user"
    run_pending()
    assert "Replay the dead deliveries" in client.get("/machine/").content.decode()
    post_office.answers.clear()
    client.post("/machine/replay/")
    run_pending()
    assert len(post_office.received) == 1


def test_a_stack_hears_that_a_worker_is_to_be_killed(client, demo):
    def stack():
        while not (demo / KILL_A_WORKER).exists():
            time.sleep(0.01)
        (demo / KILL_A_WORKER).unlink()

    threading.Thread(target=stack, daemon=True).start()
    page = client.post("/machine/kill/", follow=True).content.decode()
    assert "killed with SIGKILL" in page


def test_without_a_stack_no_worker_is_killed_later_either(client, demo, monkeypatch):
    monkeypatch.setattr(faults, "STACK_TIMEOUT", 0.1)
    page = client.post("/machine/kill/", follow=True).content.decode()
    assert "has a worker that may be killed" in page
    assert not (demo / KILL_A_WORKER).exists()
