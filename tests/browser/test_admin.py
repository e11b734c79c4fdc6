"""An operator in the admin, at a desk and on a telephone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import RunningShop
from tests.browser.people import Links, Person
from tests.browser.test_accessibility import PASSWORD, barriers, sign_in

DELIVERIES = "/admin/signal_tasks/delivery/"
LISTS = (
    DELIVERIES,
    "/admin/signal_tasks/event/",
    "/admin/signal_tasks/failuregroup/",
    "/admin/signal_tasks/operation/",
    "/admin/signal_tasks/control/",
    "/admin/signal_tasks/auditentry/",
    "/admin/signal_tasks/worker/",
)
#: How much wider the page is than the screen, and the list than its place.
OVERFLOW = """() => [
    document.documentElement.scrollWidth - innerWidth,
    ...[...document.querySelectorAll("#result_list")].map(
        list => list.offsetWidth - list.closest(".results").offsetWidth)
]"""


@pytest.fixture(scope="module")
def stack(stack: RunningShop) -> RunningShop:
    """The stack, with somebody in it who may do everything."""
    stack.env["DJANGO_SUPERUSER_PASSWORD"] = PASSWORD
    owner = ("--username=owner", "--email=owner@example.com")
    stack.manage("createsuperuser", "--noinput", "--verbosity=0", *owner)
    return stack


@pytest.fixture(params=[1280, 390])
def screen(
    request: pytest.FixtureRequest, browser: Browser, stack: RunningShop
) -> Iterator[Page]:
    with browser.new_context(base_url=stack.url) as context:
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.set_viewport_size({"width": request.param, "height": 850})
        yield page


@pytest.fixture
def waiting(stack: RunningShop, screen: Page, links: Links) -> Iterator[None]:
    """Deliveries of a confirmed order that wait, since their receivers are paused."""
    buyer = Person(screen, links)
    buyer.order("Olive wood spoon")
    buyer.prove()
    stack.manage("signal_tasks", "pause", "*", "--because", "a test")
    try:
        buyer.confirm()
        sign_in(screen)
        yield
    finally:
        stack.manage("signal_tasks", "resume", "*")


@pytest.mark.usefixtures("waiting")
def test_an_operator_discards_what_waits_and_sees_what_was_done(screen: Page) -> None:
    screen.goto(f"{DELIVERIES}?state__exact=pending")
    screen.locator("#action-toggle").check()
    screen.get_by_label("Action:").select_option("discard")
    screen.get_by_role("button", name="Go", exact=True).click()
    expect(screen.get_by_role("heading", name="Discard deliveries?")).to_be_visible()
    assert screen.evaluate(OVERFLOW) == [0]
    assert [found for found in barriers(screen) if "confirmation" in found] == []
    screen.get_by_role("button", name="Yes, discard them").click()
    expect(screen.get_by_text("This field is required.")).to_be_visible()
    screen.get_by_label("Reason").fill("a test")
    screen.get_by_role("button", name="Yes, discard them").click()
    expect(screen.locator(".messagelist")).to_contain_text("changed.")
    screen.get_by_role("link", name="See the operation.").click()
    expect(screen.locator(".field-state")).to_contain_text("Done")
    expect(screen.locator(".field-reason")).to_contain_text("a test")


@pytest.mark.usefixtures("waiting")
def test_no_list_is_wider_than_the_screen(screen: Page) -> None:
    for address in LISTS:
        screen.goto(address)
        screen.locator("#content").wait_for()
        assert not any(over > 0 for over in screen.evaluate(OVERFLOW)), address
