"""Orders from a person's click to the stock on the page and the mail at the server."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from email.header import decode_header, make_header

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import RunningShop
from tests.browser.people import Links, Person
from tests.browser.test_accessibility import barriers
from tests.post_office import PostOffice

TIMEOUT = 90_000  # what a killed worker held is taken up again after 30 s
CANDLE = "Last winter's candle"  # of which two are left


@pytest.fixture(scope="module")
def post_office() -> Iterator[PostOffice]:
    office = PostOffice()
    office.open()
    yield office
    office.close()


@pytest.fixture(scope="module")
def email_url(post_office: PostOffice) -> str:
    return f"smtp://127.0.0.1:{post_office.port}"


@pytest.fixture(scope="module")
def links(post_office: PostOffice) -> Links:
    return post_office.link_to


@pytest.fixture(scope="module", autouse=True)
def _kept_running(stack: RunningShop) -> Iterator[None]:
    """Start again what dies, and kill a worker when the page of the incident asks."""
    over = threading.Event()
    # What this thread starts dies with it: it stays until the last test.
    keeper = threading.Thread(target=stack.run, args=(over.is_set,))
    keeper.start()
    yield
    over.set()
    keeper.join()


@pytest.fixture(scope="module")
def staff(browser: Browser, stack: RunningShop) -> Iterator[Page]:
    """The browser of somebody who runs the shop."""
    stack.env["DJANGO_SUPERUSER_PASSWORD"] = "correct horse"
    who = ("--username", "boss", "--email", "boss@example.com")
    stack.manage("createsuperuser", "--noinput", *who)
    with browser.new_context(base_url=stack.url) as context:
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.goto("/login/")
        page.get_by_label("Username").fill("boss")
        page.get_by_label("Password").fill("correct horse")
        page.locator("main form button").click()
        page.get_by_role("link", name="Inbox").wait_for()
        yield page


def subjects(office: PostOffice, about: str) -> list[str]:
    """The subjects of the messages that the mail server took, about one order."""
    all_of_them = [
        str(make_header(decode_header(m["Subject"]))) for m in office.received
    ]
    return [subject for subject in all_of_them if about in subject.lower()]


def wait_for_mail(office: PostOffice, subject: str) -> None:
    deadline = time.monotonic() + 20
    while not any(m["Subject"] == subject for m in office.received):
        assert time.monotonic() < deadline, f"no {subject!r}"
        time.sleep(0.1)


def add_to_basket(person: Person, product: str, quantity: int) -> None:
    person.page.goto("/")
    person.page.get_by_role("link", name=product).click()
    person.page.get_by_label("Quantity").fill(str(quantity))
    person.page.get_by_role("button", name="Add to basket").click()


def checkout(person: Person) -> str:
    """Order what is in the basket, and return the name of the order."""
    person.page.get_by_label("Your name").fill("Ada Muster")
    person.page.get_by_label("Your email address").fill(person.address)
    person.page.get_by_role("button", name="Place order").click()
    return number_of_order(person)


def number_of_order(person: Person) -> str:
    """The name of the order whose page this is, or is about to be."""
    heading = person.page.get_by_role("heading", level=1, name=re.compile("^Order "))
    return heading.inner_text().lower()


def confirm(person: Person) -> None:
    """Confirm the order, and see it said: the page before has nothing to wait for."""
    person.confirm()
    person.see("is confirmed. Thank you!")


def stock_of(staff: Page, product: str) -> int:
    """How many there are, as the admin shows it."""
    staff.goto("/admin/products/product/")
    row = staff.get_by_role("row").filter(has_text=product)
    return int(row.locator(".field-stock").inner_text())


def arrive(staff: Page, product: str, quantity: int) -> None:
    staff.goto("/admin/products/product/")
    staff.get_by_role("link", name=product).click()
    staff.get_by_label("Arrived").fill(str(quantity))
    staff.get_by_role("button", name="Save", exact=True).click()
    staff.get_by_text("was changed successfully").wait_for()


def reload_until(page: Page, text: str) -> None:
    deadline = time.monotonic() + 20
    while not page.get_by_text(text).count():
        assert time.monotonic() < deadline, f"no {text!r}"
        page.reload()


def test_several_products_in_one_order_take_stock_and_send_a_mail(
    person: Person, staff: Page, post_office: PostOffice
) -> None:
    towel, brush = "Linen tea towel", "Beechwood dish brush"
    before = stock_of(staff, towel), stock_of(staff, brush)
    add_to_basket(person, towel, 2)
    add_to_basket(person, brush, 3)
    person.see("€ 61.70")
    order = checkout(person)
    confirm(person)
    person.wait_for_the_end()
    wait_for_mail(post_office, f"Your {order} is confirmed")
    assert stock_of(staff, towel) == before[0] - 2
    assert stock_of(staff, brush) == before[1] - 3


def test_a_basket_needs_no_javascript(plain_person: Person) -> None:
    add_to_basket(plain_person, "Beeswax wraps", 1)
    add_to_basket(plain_person, "Olive wood spoon", 1)
    page = plain_person.page
    page.get_by_role("spinbutton", name="Olive wood spoon").fill("0")
    page.get_by_role("button", name="Olive wood spoon").click()
    expect(page.locator(".basket li")).to_have_count(1)
    assert checkout(plain_person).startswith("order ")
    confirm(plain_person)


def test_a_cancelled_order_gives_back_what_it_took(
    person: Person, staff: Page, post_office: PostOffice
) -> None:
    timer = "Brass egg timer"
    before = stock_of(staff, timer)
    person.order(timer, 4)
    order = number_of_order(person)
    confirm(person)
    person.wait_for_the_end()
    assert stock_of(staff, timer) == before - 4
    person.page.get_by_role("button", name="Cancel order").click()
    person.see("is cancelled")
    person.wait_for_the_end()
    assert "Give back inventory succeeded" in person.steps()
    wait_for_mail(post_office, f"Your {order} is cancelled")
    assert stock_of(staff, timer) == before
    assert len(subjects(post_office, order)) == 2


def test_whoever_waits_is_served_when_stock_arrives(
    person: Person, staff: Page, post_office: PostOffice
) -> None:
    person.order(CANDLE, stock_of(staff, CANDLE) + 3)
    order = number_of_order(person)
    confirm(person)
    person.see("3 on back-order")
    wait_for_mail(post_office, f"Part of your {order} is on back-order")
    arrive(staff, CANDLE, 10)
    reload_until(person.page, "Send back order served")
    person.wait_for_the_end()
    assert person.page.get_by_text("back-order, ").count() == 0
    wait_for_mail(post_office, f"The rest of your {order} is here")
    assert stock_of(staff, CANDLE) == 7


def test_staff_read_in_the_inbox_what_the_mail_server_got(
    person: Person, staff: Page, post_office: PostOffice
) -> None:
    person.order("Notebook of recipes")
    order = number_of_order(person)
    confirm(person)
    person.wait_for_the_end()
    staff.goto(f"/inbox/?to={person.address}")
    found = barriers(staff)
    staff.get_by_role("link", name=f"Your {order} is confirmed").click()
    letter = staff.frame_locator("iframe.email")
    letter.get_by_text("Notebook of recipes").wait_for()
    assert found + barriers(staff) == []
    staff.get_by_role("link", name="its delivery").click()
    staff.get_by_text(
        "notifications.receivers.send_order_confirmation"
    ).first.wait_for()


def test_the_totals_are_equal_whatever_is_broken_meanwhile(
    person: Person, post_office: PostOffice
) -> None:
    page = person.page
    page.goto("/incident/")
    page.get_by_role("button", name="Break the mail server").click()
    person.see("mail server down")
    page.get_by_role("button", name="Confirm 100 orders").click()
    page.get_by_role("button", name="Kill a worker").click()
    person.see("killed with SIGKILL")
    page.get_by_role("button", name="Repair the mail server").click()
    page.get_by_text("100 = 100 = 100").first.wait_for(timeout=TIMEOUT)
    sent = [m for m in post_office.received if m["To"] == "incident@example.com"]
    assert len({m["Message-ID"] for m in sent}) == 100
