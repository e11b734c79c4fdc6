"""What a person does in the shop, and what stands on the page then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

from playwright.sync_api import Page

Links = Callable[[str], str]  # waits for the newest link that was sent to an address
ALL = [
    "Send order confirmation succeeded",
    "Send proof succeeded",
    "Update inventory succeeded",
]

PASSWORD = "correct horse battery"
#: Who uses the dashboard, and with which permissions of the library.
ROLES: dict[str, Sequence[str]] = {
    "viewer": ["view_delivery"],
    "oncall": [
        *("view_delivery", "replay_delivery", "cancel_operation", "pause_target"),
    ],
    "stranger": [],
}
CONFIRMATION = "notifications.receivers.send_order_confirmation"
CANCELLATION = "notifications.receivers.send_order_cancellation"


def accept(complaints: list[str], status: str) -> None:
    """Forget what the browser says about an answer that had to be an error."""
    complaints[:] = [text for text in complaints if f"status of {status}" not in text]


class Person:
    """Somebody in front of one window of a browser, with an address of their own."""

    numbers = count()

    def __init__(self, page: Page, links: Links, address: str = "") -> None:
        self.page = page
        self.links = links
        self.address = address or f"ada{next(self.numbers)}@example.com"

    def order(self, product: str, quantity: int = 1) -> None:
        """Choose from the catalogue, fill in the form, and send it."""
        self.page.goto("/")
        self.page.get_by_role("link", name=product).click()
        self.page.get_by_label("Quantity").fill(str(quantity))
        self.page.get_by_label("Your name").fill("Ada Muster")
        self.page.get_by_label("Your email address").fill(self.address)
        self.page.get_by_role("button", name="Place order").click()

    def prove(self) -> None:
        """Open the link that was sent because of the order, and come back to its page."""
        if self.page.get_by_role("button", name="Send the link again").count():
            order = self.page.url
            self.page.goto(self.links(self.address))
            self.page.get_by_role("button", name="Yes, it is mine").click()
            self.see("is yours")
            self.page.goto(order)

    def confirm(self) -> None:
        """Press the button of the order page, and wait for the page that follows."""
        self.prove()
        with self.page.expect_navigation():
            self.page.get_by_role("button", name="Confirm order").click()

    def open_account_form(self, username: str) -> None:
        """Have the link of a new account sent, and open it."""
        address = f"{username}@example.com"
        self.page.goto("/register/")
        self.page.get_by_label("Email address").fill(address)
        self.page.get_by_role("button", name="Send me the link").click()
        self.see(f"A link is on its way to {address}")
        self.page.goto(self.links(address))

    def register(self, username: str) -> None:
        """Fill in the form of a new account, and send it."""
        self.page.get_by_label("Username").fill(username)
        self.page.get_by_label("First name").fill("Ada")
        self.page.get_by_label("Last name").fill("Muster")
        for field in ("Password:", "Password confirmation:"):
            self.page.get_by_label(field, exact=True).fill("correct horse battery")
        self.page.get_by_role("button", name="Register").click()

    def review(self, rating: str, text: str) -> None:
        """Say of the mug what there is to say."""
        self.page.goto("/products/enamel-camp-mug/")
        self.page.get_by_label("Your rating").select_option(rating)
        self.page.get_by_label("Your review").fill(text)
        self.page.get_by_role("button", name="Send review").click()

    def subscribe(self, address: str) -> None:
        """Ask for the newsletter, whatever the browser thinks of the address."""
        self.page.goto("/newsletter/")
        self.page.locator("main form").evaluate("form => form.noValidate = true")
        self.page.get_by_label("Your email address").fill(address)
        self.page.get_by_role("button", name="Subscribe", exact=True).click()

    def join(self, address: str) -> None:
        """Open the link that was sent to a reader, and press its button."""
        self.see(f"A link is on its way to {address}")
        self.page.goto(self.links(address))
        self.page.get_by_role("button", name="Get the newsletter").click()

    def message(self) -> str:
        """What the shop says on top of the page."""
        return self.page.locator(".messages").inner_text()

    def steps(self) -> list[str]:
        """Each delivery with its state, as the order page lists them."""
        rows = self.page.locator(".steps li")
        return [
            f"{row.locator('strong').inner_text()} {row.locator('.state').inner_text()}"
            for row in rows.all()
        ]

    def see(self, *texts: str) -> None:
        """Wait until all of this is on the page."""
        for text in texts:
            self.page.get_by_text(text).first.wait_for()

    def wait_for_the_end(self) -> None:
        """Wait until the page says that all that follows from the order has ended."""
        self.page.locator("[data-ended]").wait_for()
