"""The dashboard on call: real workers, a strict policy, three roles, keys, no script."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, Protocol
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import resolve
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Route,
    StorageState,
    expect,
)

from signal_tasks.dashboard import urls
from tests.browser.conftest import RunningShop
from tests.browser.people import (
    CANCELLATION,
    CONFIRMATION,
    PASSWORD,
    Links,
    Person,
    accept,
)
from tests.browser.test_accessibility import barriers

#: Without one exception.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
#: Targets of forms; what else has a URL is a page.
NO_PAGES = {"acknowledge", "cancel", "control", "note", "resume"}
HOME = "/signals/"
BLOCKED = "/signals/blocked/"
GROUPS = "/signals/dead/"
MAIL_IS_BROKEN = "mail-is-broken"
SCREENS: tuple[tuple[int, Literal["light", "dark"]], ...] = (
    (360, "light"),
    (1600, "dark"),
)
#: How much wider the page is than the screen.
OVERFLOW = "document.documentElement.scrollWidth - innerWidth"
#: What the page remembers of a live view that was paused.
PAUSED = "signal-tasks-paused"
LOADED_ONCE = "window.loadedOnce"
#: The outline of what has the focus, and its text.
FOCUSED = """() => {
    const style = getComputedStyle(document.activeElement);
    return [style.outlineStyle, document.activeElement.textContent.trim()];
}"""
#: Two refreshes and a bit, in milliseconds.
A_WHILE = 4500


class LogIn(Protocol):
    """Open the browser of a person."""

    def __call__(self, who: str, *, script: bool = True) -> Page: ...


@pytest.fixture(scope="module")
def stack(stack: RunningShop) -> RunningShop:
    """The stack, after an incident."""
    program = "from tests.browser.incident import happen; happen()"
    stack.manage("shell", "--verbosity=0", f"--command={program}")
    return stack


@pytest.fixture(scope="module")
def sessions(browser: Browser, stack: RunningShop) -> dict[str, StorageState]:
    """The cookies of each person who was logged in."""
    return {}


@pytest.fixture
def said() -> Iterator[list[str]]:
    """Collect the complaints of browsers in their consoles; in the end there are none."""
    complaints: list[str] = []
    yield complaints
    assert complaints == []


@pytest.fixture
def log_in(
    browser: Browser,
    stack: RunningShop,
    said: list[str],
    sessions: dict[str, StorageState],
) -> Iterator[LogIn]:
    """Return a function that opens the browser of somebody who is logged in."""
    contexts: list[BrowserContext] = []

    def opened(who: str, *, script: bool = True) -> Page:
        if who not in sessions:
            sessions[who] = _session(browser, stack, who)
        context = browser.new_context(
            base_url=stack.url,
            storage_state=sessions[who],
            java_script_enabled=script,
        )
        contexts.append(context)
        context.set_default_timeout(20_000)
        context.route(re.compile("/signals/"), _be_strict)
        context.on("console", lambda message: _hear(message, said))
        context.on("weberror", lambda error: said.append(str(error.error)))
        return context.new_page()

    yield opened
    for context in contexts:
        context.close()


def _session(browser: Browser, stack: RunningShop, who: str) -> StorageState:
    with browser.new_context(base_url=stack.url) as context:
        page = context.new_page()
        page.goto("/login/")
        page.get_by_label("Username").fill(who)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Sign out").wait_for()
        return context.storage_state()


def _hear(message: ConsoleMessage, said: list[str]) -> None:
    if message.type == "error":
        said.append(message.text)


def _be_strict(route: Route) -> None:
    """Answer a page with the policy, in place of that of the shop."""
    if route.request.resource_type != "document":
        route.continue_()
        return
    answer = route.fetch(max_redirects=0)
    headers = {**answer.headers, "content-security-policy": POLICY}
    route.fulfill(response=answer, headers=headers)


# -- every page ---------------------------------------------------------------------


def pages_of(page: Page, base: str) -> Iterator[str]:
    """Open one page of each kind, as links lead to it; yield the kind of each.

    The first one leads to deliveries that can be skipped.
    """
    seen: dict[str, str] = {}
    waiting = [BLOCKED]
    while waiting:
        path = waiting.pop(0)
        kind = resolve(urlsplit(path).path).url_name or ""
        if kind in seen:
            continue
        seen[kind] = path
        page.goto(path)
        yield kind
        links = page.locator("a").evaluate_all("all => all.map(a => a.href)")
        paths = [link.removeprefix(base) for link in links]
        waiting += [path for path in paths if path.startswith(HOME)]


def faint(page: Page) -> list[str]:
    """Return what is hard to read in these colours; all else is as in others."""
    rules = {"runOnly": ["color-contrast"]}
    results = Axe().run(page, options=rules).response
    return [
        str(node["html"]) for each in results["violations"] for node in each["nodes"]
    ]


def test_each_page_is_for_everybody_on_every_screen(
    log_in: LogIn, stack: RunningShop
) -> None:
    page = log_in("owner")
    found: list[str] = []
    kinds = set()
    for kind in pages_of(page, stack.url):
        kinds.add(kind)
        for width, scheme in SCREENS:
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            found += barriers(page) if scheme == "light" else faint(page)
            if page.evaluate(OVERFLOW) > 0:
                found.append(f"{kind} is wider than {width} pixels")
    assert found == []
    assert kinds == {pattern.name for pattern in urls.urlpatterns} - NO_PAGES


# -- what is live -------------------------------------------------------------------


def refreshes(page: Page) -> list[Request]:
    """Collect the requests by which the page refreshes itself, as it sends them."""
    asked: list[Request] = []

    def hear(request: Request) -> None:
        if request.resource_type == "xhr":
            asked.append(request)

    page.on("request", hear)
    return asked


def state(page: Page, text: str) -> None:
    """Wait until the heading of the page says this of the state."""
    expect(page.locator("h1 .tag")).to_have_text(re.compile(text))


def test_a_delivery_is_watched_until_it_succeeds(
    log_in: LogIn, stack: RunningShop, links: Links
) -> None:
    page = log_in("owner")
    with stack.sleeping_workers():
        Person(page, links).subscribe("reader@example.com")
        page.goto("/signals/events/?signal=customers.signals.proof_requested")
        page.locator("[data-row] a").first.click()
        page.get_by_role("link", name="send_proof").click()
        state(page, "pending")
        page.evaluate(f"{LOADED_ONCE} = true")
        with page.expect_response(page.url):
            pass
        state(page, "pending")
    state(page, "succeeded")
    expect(page.locator(".timeline")).to_contain_text("succeeded")
    assert page.evaluate(LOADED_ONCE)


def test_nothing_is_refreshed_for_nobody(log_in: LogIn) -> None:
    page = log_in("viewer")
    page.goto(HOME)
    asked = refreshes(page)
    page.get_by_role("button", name="Live").click()
    page.wait_for_timeout(A_WHILE)
    assert asked == []
    page.reload()  # it stays so
    page.get_by_role("button", name="Paused").click()
    with page.expect_response(page.url):
        pass
    page.evaluate("Object.defineProperty(document, 'hidden', {get: () => true})")
    page.wait_for_timeout(300)
    before = len(asked)
    page.wait_for_timeout(A_WHILE)
    assert len(asked) == before


# -- what is done -------------------------------------------------------------------


def open_group(page: Page, receiver: str) -> None:
    """Go to the failure group of a receiver as a person does."""
    page.goto(f"{GROUPS}?every=1&receiver={receiver}")
    page.locator("[data-row] a").first.click()
    page.get_by_role("heading", level=1).get_by_text(receiver).wait_for()


def replay(page: Page, reason: str, **options: str) -> None:
    """Fill in the dialogue of the operation, and confirm it."""
    page.get_by_role("link", name="Replay").first.click()
    page.get_by_label("Reason").fill(reason)
    for label, value in options.items():
        page.get_by_label(label.capitalize(), exact=True).fill(value)


def confirm(page: Page) -> None:
    """Confirm it, and see the page of the operation."""
    page.get_by_role("button", name="Yes, replay").click()
    page.get_by_text("Asked for by").wait_for()


def test_a_group_is_replayed_in_steps_once_its_cause_is_mended(
    log_in: LogIn, stack: RunningShop
) -> None:
    page = log_in("oncall")
    mail_is_broken = stack.var / MAIL_IS_BROKEN
    mail_is_broken.touch()
    open_group(page, CONFIRMATION)
    replay(page, "The mail server was restarted.")
    page.get_by_label("Go in growing steps").check()
    confirm(page)
    state(page, "stopped")
    expect(page.locator(".notice")).to_contain_text("The mail server did not take it")
    page.get_by_label("Why").fill("It is still down.")
    page.get_by_role("button", name="Cancel it").click()
    state(page, "cancelled")

    mail_is_broken.unlink()
    open_group(page, CONFIRMATION)
    replay(page, "Now it is up.")
    page.get_by_label("Go in growing steps").check()
    confirm(page)
    state(page, "done")
    open_group(page, CONFIRMATION)
    expect(page.locator(".lead")).to_contain_text("0 dead letters")
    page.goto("/signals/log/?by=oncall")
    expect(page.locator("main")).to_contain_text("It is still down.")


def test_an_operation_is_cancelled_and_leaves_the_rest_as_it_is(log_in: LogIn) -> None:
    page = log_in("oncall")
    open_group(page, CANCELLATION)
    dead = int(page.locator(".lead").inner_text().split()[0])
    replay(page, "One, to see.", rate="1/h")
    confirm(page)
    expect(page.locator(".lead")).to_contain_text(f"1 of {dead}")
    page.get_by_role("button", name="Cancel it").click()
    state(page, "cancelled")
    open_group(page, CANCELLATION)
    expect(page.locator(".lead")).to_contain_text(f"{dead - 1} dead letter")


# -- for whom -----------------------------------------------------------------------


def test_each_role_sees_and_does_what_it_may(log_in: LogIn, said: list[str]) -> None:
    operator, viewer, stranger = map(log_in, ("oncall", "viewer", "stranger"))
    page = f"/signals/receivers/{CANCELLATION}/"
    operator.goto(page)
    pause = operator.locator(".card", has=operator.get_by_role("heading", name="Pause"))
    pause.get_by_label("Why").fill("The text is wrong.")
    pause.get_by_role("button", name="Pause").click()
    operator.get_by_text("by oncall since").wait_for()
    assert operator.get_by_role("button", name="Limit").count() == 0
    assert operator.get_by_role("link", name="Replay its dead letters").count() == 1
    assert operator.get_by_role("link", name="Discard its dead letters").count() == 0

    viewer.goto(page)
    expect(viewer.locator("main")).to_contain_text("The text is wrong.")
    assert viewer.locator("main form").count() == 0
    assert viewer.locator(".button").count() == 0
    operator.get_by_role("button", name="Resume").click()
    expect(viewer.locator("main")).not_to_contain_text("The text is wrong.")

    question = f"/signals/operations/new/?verb=replay&receiver={CANCELLATION}"
    for somebody, address in ((viewer, question), (stranger, HOME), (stranger, page)):
        answer = somebody.goto(address)
        assert answer is not None
        assert answer.status == 403
    accept(said, "403")


# -- by the keyboard, and without a script ------------------------------------------


def test_the_keyboard_is_enough(log_in: LogIn) -> None:
    page = log_in("oncall")
    page.goto("/signals/events/")
    keys, chosen = page.keyboard, page.locator(".chosen a").first
    keys.press("j")
    first = chosen.get_attribute("href")
    keys.press("j")
    assert chosen.get_attribute("href") != first
    keys.press("k")
    with page.expect_response(page.url):
        keys.press("r")
    page.wait_for_timeout(300)  # until the answer is shown
    assert chosen.get_attribute("href") == first
    keys.press("?")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()
    keys.press("Escape")
    expect(page.get_by_role("heading", name="Keys")).to_be_hidden()
    keys.press("Enter")
    page.wait_for_url(f"**{first}")


def test_letters_are_no_keys_where_one_types(log_in: LogIn) -> None:
    page = log_in("oncall")
    page.goto(GROUPS)
    page.keyboard.press("/")
    page.keyboard.type("?jk/")
    expect(page.get_by_label("Receiver")).to_have_value("?jk/")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?receiver=*")
    expect(page.locator("main")).to_contain_text("No group has dead letters.")


def test_the_focus_goes_through_the_page_in_its_order_and_is_seen(
    log_in: LogIn,
) -> None:
    page = log_in("oncall")
    page.add_init_script(f"sessionStorage.setItem('{PAUSED}', 'yes')")
    page.goto(f"/signals/receivers/{CANCELLATION}/")
    inside = page.locator(
        "a[href], button:visible, summary, main :is(input:visible, pre, [tabindex='0'])"
    )
    wanted = [each.strip() for each in inside.all_text_contents()]
    reached = []
    for _ in wanted:
        page.keyboard.press("Tab")
        outline, text = page.evaluate(FOCUSED)
        assert outline == "solid", text
        reached.append(text)
    assert reached == wanted


def test_without_a_script_only_what_is_live_is_missing(log_in: LogIn) -> None:
    page = log_in("owner", script=False)
    page.goto(HOME)
    assert page.get_by_role("button", name="Live").count() == 0
    page.get_by_role("link", name="24h").click()
    expect(page.locator("main")).to_contain_text("the last 24 hours")
    page.get_by_role("link", name="Events").click()
    page.get_by_label("Subject").fill("orders.order:1")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("[data-row]")).to_have_count(1)
    page.locator("[data-row] a").first.click()
    page.get_by_role("link", name="send_order_confirmation").click()
    page.locator("summary").first.click()
    expect(page.locator("pre").first).to_be_visible()

    page.goto(BLOCKED)
    page.locator("[data-row] a").nth(1).click()  # the dead letter, behind its receiver
    replay(page, "No script.", rate="often")
    page.get_by_role("button", name="Yes, replay").click()
    expect(page.get_by_role("alert")).to_contain_text("deliveries a second")
    page.get_by_label("Rate").fill("")
    confirm(page)
    while page.locator("h1 .tag").inner_text() != "done":
        page.reload()
