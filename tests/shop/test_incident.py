"""The tour of an incident, whose buttons break things: in development, nowhere else."""

from __future__ import annotations

import re
import threading
import time

import pytest
from django.core import mail

from orders.models import Order
from products.models import StockMovement
from shop.incident import faults
from shop.incident.facts import CONFIRMATION, read
from shop.incident.tour import tour_of
from shop.stack import KILL_A_WORKER
from signal_tasks import operations
from signal_tasks.testing import run_pending

pytestmark = pytest.mark.django_db
PAGES = ("/incident/", "/incident/now/")
BUTTONS = tuple(
    f"/incident/{button}/"
    for button in ("begin", "orders", "mail/break", "mail/repair", "replay", "kill")
)


@pytest.fixture
def demo(settings, tmp_path):
    settings.DEBUG = settings.SHOP_DEMO = True
    settings.VAR_DIR = tmp_path
    settings.SHOP_MAIL_BACKEND = settings.EMAIL_BACKEND
    settings.EMAIL_BACKEND = "shop.incident.faults.BreakableBackend"
    return tmp_path


def stands() -> list[str]:
    """Return the state of each step, in their order."""
    return [step.stand.value for step in tour_of(read()).steps]


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


def test_no_button_is_pressed_by_following_a_link(client, demo):
    assert {client.get(button).status_code for button in BUTTONS} == {405}


def test_the_totals_of_a_hundred_orders_are_equal_in_the_end(client, demo, mug):
    page = client.post("/incident/orders/", follow=True).text
    assert "100 orders are confirmed" in page
    assert "Not there yet: 200 still to be done." in page
    run_pending()
    assert "100 = 100 = 100" in client.get("/incident/now/").text
    assert StockMovement.objects.count() == 100


def test_a_broken_mail_server_delays_mails_and_nothing_else(
    client, demo, confirmed, mug
):
    client.post("/incident/mail/break/")
    confirmed((mug, 1))
    states = {one.receiver.rpartition(".")[2]: one.state for one in run_pending()}
    assert states == {
        "update_inventory": "succeeded",
        "send_order_confirmation": "pending",
    }
    assert mail.outbox == []
    assert "The mail server is down." in client.get("/incident/").text
    client.post("/incident/mail/repair/")
    deadline = time.monotonic() + 10  # its next attempt is due within two seconds
    while not mail.outbox and time.monotonic() < deadline:
        time.sleep(0.1)
        run_pending()
    assert len(mail.outbox) == 1


@pytest.fixture
def incident(demo, client, mug, visitor, post_office, settings):
    """Three orders whose emails are dead: the server refuses them, and is broken."""
    settings.SHOP_MAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_BACKEND = "shop.incident.faults.BreakableBackend"
    post_office.verdict = "554 We do not like it"
    faults.confirm_orders(3, visitor)
    run_pending()
    client.post("/incident/mail/break/")
    return post_office


def test_each_step_says_what_is_true_now(admin_client, incident, demo):
    (demo / "worker-killed").touch()
    assert stands() == [
        "done",
        "done",
        "done",
        "done",
        "next",
        "later",
        "later",
        "later",
    ]
    [group] = operations.failure_groups(receiver=CONFIRMATION)
    page = admin_client.get("/incident/").text
    dialogue = f"/signals/operations/new/?verb=replay&amp;group={group.fingerprint}"
    assert f'href="/signals/dead/{group.fingerprint}/"' in page
    assert f'href="{dialogue}"' in page
    assert "3 deliveries died and nobody has looked" in page
    assert admin_client.get(dialogue.replace("&amp;", "&")).status_code == 200
    incident.verdict = "250 OK"
    faults.repair_mail()
    assert stands()[4:] == ["done", "done", "next", "later"]
    faults.replay_dead_deliveries(by="ann")
    assert "A replay by ann is" in admin_client.get("/incident/now/").text
    run_pending()
    assert stands()[6] == "done"
    page = admin_client.get("/incident/now/").text
    assert "The totals are equal: 3 = 3 = 3." in page
    assert stands()[7] == "next"  # not well: no worker lives in this test


def test_the_tour_begins_again_without_what_was_before(client, incident):
    client.post("/incident/begin/")
    assert not faults.mail_is_broken()
    facts = read()
    assert (facts.orders, facts.dead, facts.failures) == (0, 0, 0)
    assert stands() == ["next"] + ["later"] * 7


def test_a_worker_that_was_killed_before_the_tour_does_not_count(client, demo):
    (demo / "worker-killed").touch()
    client.post("/incident/begin/")
    assert stands()[2] == "later"


def test_the_page_has_a_button_or_a_link_for_each_step(client, demo, mug):
    page = client.get("/incident/").text
    assert len(re.findall(r'<button id="\w+" form="act" formaction="', page)) == 4
    assert 'aria-current="step"' in page
    assert "sign in</a> as the operator" in page


def test_a_stack_hears_that_a_worker_is_to_be_killed(client, demo):
    def stack():
        while not (demo / KILL_A_WORKER).exists():
            time.sleep(0.01)
        (demo / KILL_A_WORKER).unlink()

    threading.Thread(target=stack, daemon=True).start()
    page = client.post("/incident/kill/", follow=True).text
    assert "killed with SIGKILL" in page


def test_without_a_stack_no_worker_is_killed_later_either(client, demo, monkeypatch):
    monkeypatch.setattr(faults, "STACK_TIMEOUT", 0.1)
    page = client.post("/incident/kill/", follow=True).text
    assert "has a worker that may be killed" in page
    assert not (demo / KILL_A_WORKER).exists()


def test_what_was_discarded_is_not_told_as_sent(client, incident, demo):
    operations.discard(operations.Selection(receiver=CONFIRMATION), by="ann")
    run_pending()
    page = client.get("/incident/").text
    assert "Missing: 3; 0 emails are dead, 3 were discarded." in page
