"""The shop as a person meets it: a real browser, real workers, a real broker."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, Page

from tests.browser.conftest import RunningShop
from tests.browser.people import ALL, Person, accept

CANDLE = "Last winter's candle"  # of which two are left
PAGES = (
    "/",
    "/products/enamel-camp-mug/",
    "/basket/",
    "/orders/",
    "/incident/",
    "/inbox/",
    "/health/",
    "/nowhere/",
)

# Pixels of the page, or of a table in it, that one would have to scroll to.
HIDDEN = """
    Math.max(...[...document.querySelectorAll("html, .overflow-auto")].map(
        part => part.scrollWidth - part.clientWidth
    ))
"""


def test_a_person_watches_inventory_and_email_happen(
    person: Person, stack: RunningShop
) -> None:
    person.order("Olive wood spoon", 2)
    assert "is placed" in person.message()
    assert len(person.steps()) == 1
    person.prove()
    with stack.sleeping_workers():
        person.confirm()
        assert "is confirmed" in person.message()
        assert sorted(person.steps()) == [
            "Send order confirmation pending",
            "Send proof succeeded",
            "Update inventory pending",
        ]
        person.page.evaluate("window.loadedOnce = true")
    person.wait_for_the_end()
    assert sorted(person.steps()) == ALL
    person.see("Your order", f"to {person.address}")
    assert person.page.evaluate("window.loadedOnce")


def test_whoever_confirms_again_is_told(person: Person, visit: BrowserContext) -> None:
    person.order("Linen tea towel")
    twin = Person(visit.new_page(), person.links)
    person.prove()
    twin.page.goto(person.page.url)
    person.confirm()
    person.wait_for_the_end()
    twin.confirm()
    assert "was already confirmed. Nothing was sent again." in twin.message()
    assert sorted(twin.steps()) == ALL
    assert twin.page.locator(".emails li").count() == 1


def test_an_order_of_more_than_there_is_says_so(person: Person) -> None:
    person.order(CANDLE, 5)
    person.confirm()
    person.see("back-ordered", "Some of it is out of stock", "on back-order, ")
    person.see("Part of your order")
    person.wait_for_the_end()
    assert "Send back order notice succeeded" in person.steps()


def test_an_order_that_makes_no_sense_is_not_placed(
    person: Person, complaints: list[str]
) -> None:
    person.page.goto("/products/enamel-camp-mug/")
    person.page.locator("form").evaluate("form => form.noValidate = true")
    person.page.get_by_label("Quantity").fill("0")
    person.page.get_by_role("button", name="Place order").click()
    person.see("greater than or equal to 1", "This field is required")
    accept(complaints, "422")


def test_a_link_to_confirm_says_to_use_the_button(
    person: Person, complaints: list[str]
) -> None:
    person.order("Brass egg timer")
    person.prove()
    answer = person.page.goto(f"{person.page.url}confirm/")
    assert answer is not None
    assert answer.status == 405
    person.see("Please use POST here, not GET.")
    person.page.go_back()
    assert person.page.get_by_role("button", name="Confirm order").is_visible()
    accept(complaints, "405")


def test_it_all_works_without_javascript(plain_person: Person) -> None:
    plain_person.order("Beeswax wraps")
    plain_person.confirm()
    plain_person.see("is confirmed")
    reload = plain_person.page.get_by_role("link", name="Reload")
    while reload.count():
        with plain_person.page.expect_navigation():
            reload.click()
    assert sorted(plain_person.steps()) == ALL
    plain_person.see("Your order")


def test_no_page_is_wider_than_a_telephone(
    phone: Page, person: Person, complaints: list[str]
) -> None:
    person.order("Notebook of recipes")
    addresses = [phone.url, *PAGES]
    for address in addresses:
        phone.goto(address)
        assert phone.evaluate(HIDDEN) <= 0, address
    accept(complaints, "404")


def test_a_newcomer_finds_the_admin_and_the_health_of_the_stack(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Admin").click()
    page.get_by_label("Username").wait_for()
    page.goto("/health/")
    page.get_by_role("heading", name="All is well").wait_for()


def test_a_newcomer_reads_the_link_in_the_inbox_that_the_order_names(
    person: Person,
) -> None:
    person.order("Hand-thrown teapot")
    person.wait_for_the_end()
    person.page.get_by_role("main").get_by_role("link", name="inbox").click()
    person.page.get_by_role("link", name="Is this your email address?").click()
    person.page.get_by_label("The text part").get_by_role("link").click()
    person.page.get_by_role("button", name="Yes, it is mine").click()
    person.see(f"{person.address} is yours")


def test_a_newcomer_follows_the_link_in_the_html_of_an_email(person: Person) -> None:
    person.order("Hand-thrown teapot")
    person.wait_for_the_end()
    person.page.get_by_role("main").get_by_role("link", name="inbox").click()
    person.page.get_by_role("link", name="Is this your email address?").click()
    letter = person.page.frame_locator("iframe.email")
    with person.page.expect_popup() as opened:
        letter.get_by_role("link").click()
    opened.value.get_by_role("button", name="Yes, it is mine").click()
    opened.value.get_by_text(f"{person.address} is yours").wait_for()


def test_the_tour_of_an_incident_needs_no_javascript(plain_person: Person) -> None:
    page = plain_person.page
    page.goto("/incident/")
    page.get_by_role("button", name="Break the mail server").click()
    plain_person.see("The mail server is down.", "Next: step 2")
    page.get_by_role("button", name="Begin again").click()
    plain_person.see("The mail server answers.", "Next: step 1")
    page.get_by_role("main").get_by_role("link", name="sign in").click()
    assert page.url.endswith("/login/?next=/incident/")
