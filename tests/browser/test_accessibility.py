"""Nobody is kept out: axe-core looks at every page, in light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.template.loader import get_template
from django.test import RequestFactory
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import RunningShop
from tests.browser.people import Links, Person

ADDRESSES = (
    "/",
    "/products/enamel-camp-mug/",
    "/products/enamel-camp-mug/reviews/",
    "/basket/",
    "/orders/",
    "/incident/",
    "/inbox/",
    "/health/",
    "/register/",
    "/login/",
    "/newsletter/",
    "/orders/1/confirm/",
)
FOR_STAFF = (
    "/profile/",
    "/notify/",
    "/products/enamel-camp-mug/",
    "/products/enamel-camp-mug/reviews/",
    "/basket/",
    "/orders/",
    "/inbox/",
    "/inbox/?to=nobody",
    "/incident/",
    "/health/",
)
ADMIN = (
    "/admin/",
    "/admin/signal_tasks/delivery/",
    "/admin/signal_tasks/failuregroup/",
    "/admin/signal_tasks/operation/",
    "/admin/products/product/add/",
    "/admin/auth/user/add/",
)
ERRORS = ("403.html", "403_csrf.html", "404.html", "405.html", "500.html")
PASSWORD = "correct horse battery"
WIDE, NARROW = {"width": 1200, "height": 800}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def stack(stack: RunningShop) -> RunningShop:
    """The stack, with somebody in it who may see everything."""
    stack.env["DJANGO_SUPERUSER_PASSWORD"] = PASSWORD
    owner = ("--username=owner", "--email=owner@example.com")
    stack.manage("createsuperuser", "--noinput", "--verbosity=0", *owner)
    return stack


@pytest.fixture(
    params=[(WIDE, "light"), (NARROW, "dark")], ids=["wide-light", "narrow-dark"]
)
def screen(
    request: pytest.FixtureRequest, browser: Browser, stack: RunningShop
) -> Iterator[Page]:
    size, scheme = request.param
    with browser.new_context(
        base_url=stack.url, viewport=size, color_scheme=scheme
    ) as context:
        yield context.new_page()


def barriers(page: Page) -> list[str]:
    """What axe-core finds on the page that stands in somebody's way."""
    results = Axe().run(page)
    return [
        f"{page.url}: {found['help']}: {node['html']}"
        for found in results.response["violations"]
        for node in found["nodes"]
    ]


def barriers_at(page: Page, addresses: Iterable[str]) -> list[str]:
    found: list[str] = []
    for address in addresses:
        page.goto(address)
        found += barriers(page)
    return found


def sign_in(page: Page) -> None:
    page.goto("/login/")
    page.get_by_label("Username").fill("owner")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Sign out").wait_for()


def test_no_page_has_a_barrier(screen: Page) -> None:
    assert barriers_at(screen, ADDRESSES) == []


def test_no_page_of_errors_has_a_barrier(screen: Page) -> None:
    screen.goto("/")  # in DEBUG the shop would answer with pages of Django's
    request = RequestFactory().delete("/")
    found: list[str] = []
    for name in ERRORS:
        screen.set_content(get_template(name).render({"methods": ["GET"]}, request))
        found += barriers(screen)
    assert found == []


def test_no_page_of_staff_has_a_barrier(screen: Page, links: Links) -> None:
    sign_in(screen)
    buyer = Person(screen, links)
    buyer.order("Beeswax wraps")
    buyer.confirm()
    buyer.wait_for_the_end()
    assert barriers_at(screen, FOR_STAFF) == []
    screen.goto("/inbox/")
    screen.locator("main table a").first.click()
    screen.frame_locator("iframe").locator("body").wait_for()
    assert barriers(screen) == []


def test_a_basket_has_no_barrier(screen: Page) -> None:
    screen.goto("/products/enamel-camp-mug/")
    with screen.expect_navigation():
        screen.get_by_role("button", name="Add to basket").click()
    assert barriers(screen) == []


def test_an_order_has_no_barrier_at_any_point_of_its_life(
    screen: Page, links: Links
) -> None:
    buyer = Person(screen, links)
    buyer.order("Olive wood spoon", 2)
    found = barriers(screen)
    screen.goto(links(buyer.address))
    found += barriers(screen)
    screen.go_back()
    buyer.prove()
    found += barriers(screen)
    buyer.confirm()
    found += barriers(screen)
    buyer.wait_for_the_end()
    assert found + barriers(screen) == []


def test_a_form_that_was_refused_has_no_barrier(screen: Page) -> None:
    screen.goto("/products/enamel-camp-mug/")
    screen.locator("main form").first.evaluate("form => form.noValidate = true")
    with screen.expect_navigation():
        screen.get_by_role("button", name="Place order").click()
    name = screen.get_by_label("Your name")
    assert name.get_attribute("aria-invalid") == "true"
    expect(name).to_be_focused()
    error = screen.locator(f"#{name.get_attribute('aria-describedby')}")
    assert error.inner_text() == "This field is required."
    assert barriers(screen) == []


def test_the_keyboard_reaches_the_content_first(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


def test_the_admin_asks_for_nothing_that_the_policy_refuses(page: Page) -> None:
    sign_in(page)
    for address in ADMIN:  # what is refused stands in the console
        page.goto(address)
        page.locator("#content").wait_for()
