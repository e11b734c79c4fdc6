"""``make picture``: the order page of README, as the shop draws it today."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from shop.mail_folder import links_from
from shop.stack import Stack
from tests.browser.conftest import FOREIGN, NAMES
from tests.browser.people import Links, Person

TARGET = Path(__file__).resolve().parents[2] / "docs" / "images" / "order.png"
CANDLE = "Last winter's candle"  # of which two are left: a third waits


def take(browser: Browser, url: str, links: Links) -> None:
    """Order too many candles, and keep what the page says in the end."""
    page = browser.new_page(base_url=url, viewport={"width": 1000, "height": 400})
    buyer = Person(page, links, "ada@example.com")
    buyer.order(CANDLE, 3)
    buyer.confirm()
    buyer.wait_for_the_end()
    page.reload()  # without the message on top
    TARGET.parent.mkdir(exist_ok=True)
    page.screenshot(path=TARGET, full_page=True)
    with Image.open(TARGET) as picture:  # few colours: a third of the size
        picture.convert("RGB").quantize(128).save(TARGET, optimize=True)


def main() -> None:
    """Start a shop of its own, and a browser in front of it."""
    for name in (*FOREIGN, "DATABASE_URL", "EMAIL_URL"):
        os.environ.pop(name, None)
    program = next(filter(None, map(shutil.which, NAMES)), None)
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(Path(folder), say=lambda *_: None, web_port=0, flower_port=0) as stack,
        sync_playwright() as playwright,
    ):
        arguments = ["--no-sandbox"]  # root, as in most containers, has none
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        take(browser, stack.url, links_from(Path(folder) / "mail"))
        browser.close()


if __name__ == "__main__":
    main()
