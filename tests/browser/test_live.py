"""What moves by itself on a page, and when it stops."""

from __future__ import annotations

from playwright.sync_api import Page, Request

from tests.browser.conftest import RunningShop
from tests.browser.people import Person

TWICE = "button => { button.click(); button.click(); }"
KEPT = "document.querySelector('.steps li').kept"


def listen(page: Page, method: str, ending: str) -> list[Request]:
    """Collect what the page asks for, as it asks."""
    asked: list[Request] = []

    def hear(request: Request) -> None:
        if request.method == method and request.url.endswith(ending):
            asked.append(request)

    page.on("request", hear)
    return asked


def test_a_page_asks_no_more_once_all_has_ended(person: Person) -> None:
    asked = listen(person.page, "GET", "/deliveries/")
    person.order("Copper measuring cups")
    person.confirm()
    person.wait_for_the_end()
    person.page.wait_for_timeout(300)
    before = len(asked)
    person.page.wait_for_timeout(2500)
    assert len(asked) == before


def test_what_has_not_changed_is_not_replaced(
    person: Person, stack: RunningShop
) -> None:
    person.order("Cast iron skillet")
    person.prove()
    with stack.sleeping_workers():
        person.confirm()
        answered = "**/deliveries/"
        with person.page.expect_response(answered):
            pass
        person.page.wait_for_timeout(200)
        person.page.evaluate(f"{KEPT} = true")
        with person.page.expect_response(answered):
            pass
        person.page.wait_for_timeout(200)
        assert person.page.evaluate(KEPT)
    person.wait_for_the_end()


def test_a_change_is_said_to_whoever_does_not_see_it(
    person: Person, stack: RunningShop
) -> None:
    person.order("Olive wood spoon")
    person.prove()
    with stack.sleeping_workers():
        person.confirm()
    person.page.locator("#say", has_text="3 of 3 done").wait_for(state="attached")


def test_a_form_that_is_on_its_way_is_not_sent_again(person: Person) -> None:
    sent = listen(person.page, "POST", "/confirm/")
    person.order("Linen tea towel")
    person.prove()
    person.page.get_by_role("button", name="Confirm order").evaluate(TWICE)
    person.see("is confirmed. Thank you!")
    assert len(sent) == 1
