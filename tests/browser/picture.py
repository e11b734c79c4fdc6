"""``make picture``: pages as the shop and the dashboard draw them today, for the docs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from shop.mail_folder import links_from
from shop.stack import Stack
from tests.browser.conftest import FOREIGN, NAMES
from tests.browser.people import CONFIRMATION, PASSWORD, Links, Person

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
CANDLE = "Last winter's candle"  # of which two are left: a third waits
COLOURS = 255  # a third of the size
WIDTH = 1280
#: Height at which each picture of the dashboard ends.
PICTURES = {"overview": 740, "group": 800, "delivery": 800}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def order(browser: Browser, url: str, links: Links) -> None:
    """Order too many candles, and keep what the page says in the end."""
    page = browser.new_page(base_url=url, viewport={"width": 1000, "height": 400})
    buyer = Person(page, links, "ada@example.com")
    buyer.order(CANDLE, 3)
    buyer.confirm()
    buyer.wait_for_the_end()
    page.reload()  # without the message on top
    _keep(page, "order", full_page=True)


def dashboard(browser: Browser, url: str) -> None:
    """Keep what a person on call sees, from the overview to a delivery."""
    page = browser.new_page(base_url=url)
    page.goto("/login/")
    page.get_by_label("Username").fill("owner")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Sign out").wait_for()
    page.goto("/signals/")
    _in_both(page, "overview")
    page.goto(f"/signals/dead/?receiver={CONFIRMATION}")
    page.locator("[data-row] a").first.click()
    page.get_by_text("Note for the next").wait_for()
    _in_both(page, "group")
    page.locator("[data-row] a").first.click()
    page.get_by_text("Timeline").wait_for()
    _in_both(page, "delivery")


def _in_both(page: Page, name: str) -> None:
    page.set_viewport_size({"width": WIDTH, "height": PICTURES[name]})
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        _keep(page, f"dashboard-{name}-{scheme}")


def _keep(page: Page, name: str, *, full_page: bool = False) -> None:
    target = FOLDER / f"{name}.png"
    page.screenshot(path=target, full_page=full_page)
    with Image.open(target) as picture:
        picture.convert("RGB").quantize(COLOURS).save(target, optimize=True)


@contextmanager
def _browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"]  # root, as in most containers, has none
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


def main() -> None:
    """Start a shop of its own, and a browser in front of it."""
    for name in (*FOREIGN, "DATABASE_URL", "EMAIL_URL"):
        os.environ.pop(name, None)
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(Path(folder), say=lambda *_: None, web_port=0, flower_port=0) as stack,
        _browser() as browser,
    ):
        order(browser, stack.url, links_from(Path(folder) / "mail"))
        stack.env["LOG_LEVEL"] = "CRITICAL"
        program = "from tests.browser.staged import an_hour; an_hour()"
        stack.manage("shell", "--verbosity=0", f"--command={program}")
        dashboard(browser, stack.url)


if __name__ == "__main__":
    main()
