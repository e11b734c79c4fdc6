"""A real stack, and people with a browser in front of it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from shop.embedded import PostgresServer
from shop.mail_folder import links_from
from shop.processes import Program
from shop.stack import Stack
from tests.browser.people import Links, Person

NAMES = ("chromium", "chromium-browser", "google-chrome")
# What the shop must not inherit from the test run or from the machine.
FOREIGN = ("DJANGO_SETTINGS_MODULE", "CELERY_BROKER_URL", "REDIS_URL", "SECRET_KEY")


class RunningShop(Stack):
    """A stack whose workers can sleep; a test that fails shows what it said."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, say=print, web_port=0, flower_port=0)

    @contextmanager
    def sleeping_workers(self) -> Iterator[None]:
        """Freeze all workers for a while: nothing is delivered meanwhile."""
        self._signal_workers(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal_workers(signal.SIGCONT)

    @contextmanager
    def dead_workers(self) -> Iterator[None]:
        """Kill all workers as a power cut would, and start them again later."""
        for worker in self._workers():
            worker.kill()
        try:
            yield
        finally:
            for worker in self._workers():
                worker.start(self.supervisor.say)

    def _signal_workers(self, number: signal.Signals) -> None:
        for worker in self._workers():
            assert worker.process is not None
            os.killpg(worker.process.pid, number)

    def _workers(self) -> list[Program]:
        return [self.supervisor.programs[name] for name in ("worker", "worker-email")]


@pytest.fixture(scope="module")
def chromium() -> str:
    """The path of the browser; without one there is nothing to test with."""
    for found in filter(None, map(shutil.which, NAMES)):
        return found
    reason = "Chromium is not installed (apt-get install chromium)"
    if "CI" in os.environ:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def email_url() -> str | None:
    """Where the emails of the stack go, if not to files in its folder."""
    return None


@pytest.fixture(scope="module")
def stack(
    chromium: str, tmp_path_factory: pytest.TempPathFactory, email_url: str | None
) -> Iterator[RunningShop]:
    """All that ``make run`` starts, on the kind of database that is being tested."""
    folder = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch, _database(folder) as url:
        for name in FOREIGN:
            patch.delenv(name, raising=False)
        for limited in ("ADDRESS", "VISITOR", "NETWORK"):
            patch.setenv(f"EMAILS_PER_{limited}", "1000")
        patch.setenv("DATABASE_URL", url)
        patch.setenv("EMAIL_URL", email_url or f"filemail:///{folder / 'mail'}")
        with RunningShop(folder) as shop:
            yield shop


@contextmanager
def _database(folder: Path) -> Iterator[str]:
    if os.environ.get("TEST_DATABASE", "sqlite") == "sqlite":
        yield f"sqlite:///{folder / 'shop.sqlite3'}"
        return
    with PostgresServer() as server:
        yield server.url


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    expect.set_options(timeout=20_000)  # as contexts wait for what they act on
    # Root, as in most containers, has no sandbox.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, stack: RunningShop) -> Iterator[BrowserContext]:
    with browser.new_context(base_url=stack.url) as context:
        context.set_default_timeout(20_000)
        yield context


@pytest.fixture
def complaints(visit: BrowserContext) -> Iterator[list[str]]:
    """What pages complain about in the browser's console; in the end, nothing."""
    said: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type == "error":
            said.append(message.text)

    visit.on("console", hear)
    visit.on("weberror", lambda error: said.append(str(error.error)))
    yield said
    assert said == []


@pytest.fixture
def page(visit: BrowserContext, complaints: list[str]) -> Page:
    """A window of a browser, in which no script may fail."""
    return visit.new_page()


@pytest.fixture(scope="module")
def links(stack: RunningShop) -> Links:
    """Where people read the links that the shop has sent to them."""
    return links_from(stack.var / "mail")


@pytest.fixture
def person(page: Page, links: Links) -> Person:
    """Somebody who buys."""
    return Person(page, links)


@pytest.fixture
def phone(page: Page) -> Page:
    """The same on a telephone."""
    page.set_viewport_size({"width": 390, "height": 844})
    return page


@pytest.fixture
def plain_person(
    browser: Browser, stack: RunningShop, links: Links
) -> Iterator[Person]:
    """Somebody who has no JavaScript."""
    with browser.new_context(base_url=stack.url, java_script_enabled=False) as context:
        context.set_default_timeout(20_000)
        yield Person(context.new_page(), links)
