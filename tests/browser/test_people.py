"""Accounts, reviews and emails: from a person's click to what reaches somebody."""

from __future__ import annotations

from collections.abc import Callable
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest
from PIL import Image
from playwright.sync_api import Page

from tests.browser.conftest import RunningShop
from tests.browser.emails import emails_to, text_of, wait_for_email
from tests.browser.people import Person, accept

WaitForEmail = Callable[..., EmailMessage]


@pytest.fixture
def email(stack: RunningShop) -> WaitForEmail:
    return partial(wait_for_email, folder=stack.var / "mail")


def test_a_newcomer_registers_is_welcomed_and_watches_their_profile_come(
    person: Person, stack: RunningShop, email: WaitForEmail
) -> None:
    page = person.page
    page.goto("/")
    page.get_by_role("link", name="Register").click()
    person.open_account_form("newcomer")
    with stack.sleeping_workers():
        person.register("newcomer")
        person.see("Welcome, Ada!", "Your profile is being made.")
        page.evaluate("window.loadedOnce = true")
    page.locator("#profile-name").wait_for()
    assert page.locator("#profile-name").inner_text() == "Ada Muster"
    assert page.evaluate("window.loadedOnce")
    welcome = email("newcomer@example.com", "Welcome to Signal & Sons")
    assert f"Your profile: {stack.url}/profile/" in text_of(welcome)


def test_a_profile_follows_the_account_and_shows_a_picture(
    person: Person, tmp_path: Path
) -> None:
    page, picture = person.page, tmp_path / "me.png"
    Image.new("RGB", (900, 700), "teal").save(picture)
    person.open_account_form("painter")
    person.register("painter")
    page.locator("#profile-name").wait_for()
    page.get_by_label("First name").fill("Adele")
    page.get_by_label("Picture").set_input_files(picture)
    page.get_by_role("button", name="Save").click()
    person.see("Your profile is changed.")
    shown = page.get_by_alt_text("Your picture")
    width = shown.evaluate("image => image.decode().then(() => image.naturalWidth)")
    assert width == 512
    while page.locator("#profile-name").inner_text() != "Adele Muster":
        page.reload()


def test_a_form_that_is_wrong_says_so_at_each_field(
    person: Person, complaints: list[str]
) -> None:
    person.open_account_form("hasty")
    person.page.locator("main form").evaluate("form => form.noValidate = true")
    person.page.get_by_role("button", name="Register").click()
    assert person.page.get_by_text("This field is required.").count() == 3
    accept(complaints, "422")


def test_a_vendor_gets_an_email_about_a_review(
    person: Person, email: WaitForEmail
) -> None:
    person.open_account_form("critic")
    person.register("critic")
    person.review("2", "It chips, and not gracefully.")
    person.see("Thank you for your review.", "It chips, and not gracefully.")
    told = "a customer has reviewed your Enamel camp mug: 2 of 5."
    text = text_of(email("vendor@example.com", "A review of Enamel camp mug", told))
    assert "It chips" not in text


def test_a_visitor_gets_the_newsletter_and_leaves_by_its_link(
    person: Person, email: WaitForEmail
) -> None:
    page, address = person.page, "reader@example.com"
    person.subscribe(address)
    person.join(address)
    person.see(f"{address} gets the newsletter.")
    page.goto(link_in(email(address, "You get our newsletter")))
    page.get_by_role("button", name="Unsubscribe").click()
    person.see("You have left")
    email(address, "You get our newsletter no more")


def test_a_mail_program_leaves_by_its_button(
    person: Person, email: WaitForEmail
) -> None:
    address = "clicker@example.com"
    person.subscribe(address)
    person.join(address)
    confirmation = email(address, "You get our newsletter")
    body = str(confirmation["List-Unsubscribe-Post"]).encode()
    program = build_opener(ProxyHandler({}))  # without cookies
    with program.open(link_in(confirmation), body, timeout=30) as answer:
        assert "You have left" in answer.read().decode()
    email(address, "You get our newsletter no more")


def test_a_wrong_address_gets_nothing_and_a_clear_message(
    person: Person, complaints: list[str]
) -> None:
    person.subscribe("nobody")
    person.see("This is not an email address.")
    accept(complaints, "400")


def test_a_receiver_that_fails_does_not_keep_the_notification_back(
    person: Person, email: WaitForEmail
) -> None:
    page = person.page
    person.open_account_form("caller")
    person.register("caller")
    page.get_by_role("link", name="Send yourself a notification").click()
    page.get_by_role("button", name="Send").click()
    person.see("RuntimeError: This receiver fails on purpose.", "send_notification")
    assert "Hello caller," in text_of(email("caller@example.com", "Your notification"))


def test_what_happens_while_every_worker_is_dead_is_done_when_they_live(
    person: Person, stack: RunningShop, email: WaitForEmail
) -> None:
    page, address = person.page, "phoenix@example.com"
    person.open_account_form("phoenix")
    before = len(emails_to(address, stack.var / "mail"))
    with stack.dead_workers():
        person.register("phoenix")
        person.review("5", "It survives anything.")
        person.subscribe("reborn@example.com")
        assert len(emails_to(address, stack.var / "mail")) == before
    email(address, "Welcome to Signal & Sons")
    person.join("reborn@example.com")
    email("reborn@example.com", "You get our newsletter")
    assert len(emails_to(address, stack.var / "mail")) == before + 1
    page.goto("/profile/")
    page.locator("#profile-name").wait_for()


def test_health_counts_slow_requests(page: Page, stack: RunningShop) -> None:
    token = {"Authorization": f"Bearer {stack.env['HEALTH_TOKEN']}"}
    assert "slow_requests" in page.request.get("/health/", headers=token).json()


def test_all_of_it_works_without_javascript(
    plain_person: Person, email: WaitForEmail
) -> None:
    page = plain_person.page
    plain_person.open_account_form("plain")
    plain_person.register("plain")
    again = page.get_by_role("link", name="Look again")
    while again.count():
        again.click()
    plain_person.review("5", "Plain and good.")
    plain_person.see("Plain and good.")
    reader = "plain-reader@example.com"
    plain_person.subscribe(reader)
    plain_person.join(reader)
    email(reader, "You get our newsletter")


def link_in(email: EmailMessage) -> str:
    return str(email["List-Unsubscribe"]).strip(" <>")
