"""An HTTP client of the shop that retries, and records what the shop acknowledged.

A request that fails because a server is down is sent again, as people reload a page.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from html.parser import HTMLParser
from http.client import HTTPException
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlencode

from shop.http_client import ORDER, ShopClient

PASSWORD = "a long one, with 3 words"  # noqa: S105 - guards nothing
CHANGE = re.compile(r'href="(/admin/products/product/\d+/change/)')
RETRY_SECONDS = 20.0
RETRY_PAUSE = 0.3
TEXTS = ("text", "number", "hidden", "email")


class VisitFailed(Exception):
    """The visit ended before its last step."""


class Acknowledged(NamedTuple):
    """An operation that the shop answered with success."""

    operation: str
    item: str


class Visit(ShopClient):
    """One visit, with every operation that the shop offers."""

    def __init__(
        self,
        shop: str,
        links: Callable[[str], str],
        acknowledged: list[Acknowledged],
    ) -> None:
        super().__init__(shop, links)
        self.acknowledged = acknowledged
        self.retries = 0

    def register(self, name: str) -> None:
        """Create an account by the link that an email brings.

        Sign in if the account exists because the response was lost: the shop answers
        422, or 403 if this visit is signed in already, which made the form's token old.
        """
        link = self._link_to_register(address(name))
        page, _ = self._get(link)
        account = {
            "username": name,
            "first_name": name.title(),
            "last_name": "Muster",
            "password1": PASSWORD,
            "password2": PASSWORD,
        }
        try:
            self._post(link, page, **account)
        except HTTPError as error:
            if error.code not in (403, 422):
                raise
            self.sign_in(name)
        self.acknowledged.append(Acknowledged("account", name))

    def _link_to_register(self, email: str) -> str:
        page, _ = self._get("/register/")
        self._post("/register/", page, email=email)
        return self.link_to(email)

    def sign_in(self, name: str) -> None:
        """Sign in; all accounts have the same password."""
        page, _ = self._get("/login/")
        _, where = self._post("/login/", page, username=name, password=PASSWORD)
        if where.endswith("/login/"):
            raise VisitFailed(f"{name} could not sign in.")

    def rename(self, name: str, last_name: str) -> None:
        """Change the last name of the account, and so of its profile."""
        page, _ = self._get("/profile/")
        self._post("/profile/", page, first_name=name.title(), last_name=last_name)

    def order(self, lines: dict[str, int], email: str) -> int:
        """Order, prove the address if asked to, confirm; return the order's number."""
        order, page = self.place(lines, email)
        self.confirm(order, page, email)
        self.acknowledged.append(Acknowledged("confirmed", str(order)))
        return order

    def place(self, lines: dict[str, int], email: str) -> tuple[int, str]:
        """Fill the basket and order; return the number of the order, and its page."""
        for product, quantity in lines.items():
            page, _ = self._get(f"/products/{product}/")
            self._post("/basket/", page, product=product, quantity=quantity)
        page, _ = self._get("/basket/")
        page, where = self._post("/basket/order/", page, name="A customer", email=email)
        found = ORDER.search(where)
        if found is None:
            raise VisitFailed(f"Ordering led to {where}.")
        return int(found[1]), page

    def cancel(self, order: int) -> None:
        super().cancel(order)
        self.acknowledged.append(Acknowledged("cancelled", str(order)))

    def review(self, product: str, text: str) -> None:
        """Review a product."""
        page, _ = self._get(f"/products/{product}/reviews/")
        self._post(f"/products/{product}/reviews/", page, rating=4, text=text)
        self.acknowledged.append(Acknowledged("review", text))

    def subscribe(self, email: str) -> None:
        """Subscribe to the newsletter by the link that an email brings."""
        page, _ = self._get("/newsletter/")
        self._post("/newsletter/subscribe/", page, user_email=email)
        self.prove(email)
        self.acknowledged.append(Acknowledged("subscribed", email))

    def unsubscribe(self, link: str, email: str) -> None:
        """Unsubscribe by the link in the headers of an email, as mail programs do."""
        self._get(link, urlencode({"List-Unsubscribe": "One-Click"}))
        self.acknowledged.append(Acknowledged("left", email))

    def request_notification(self, name: str, text: str) -> None:
        """Request a notification to this account, under any name."""
        page, _ = self._get("/notify/")
        self._post("/notify/", page, email=address(name), username=text)
        self.acknowledged.append(Acknowledged("notified", text))

    def restock(self, product: str, quantity: int) -> None:
        """Enter an arrived quantity of a product in the admin."""
        page, _ = self._get(f"/admin/products/product/?q={product}")
        found = CHANGE.search(page)
        if found is None:
            raise VisitFailed("The admin does not show the product.")
        page, _ = self._get(found[1])
        fields = {**FormFields(page).fields, "arrived": str(quantity)}
        self._post(found[1], page, **fields)
        self.acknowledged.append(Acknowledged("arrived", product))

    def _get(self, path: str, form: str | None = None) -> tuple[str, str]:
        """Send a request; retry if there is no response, or a server error."""
        deadline = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                return super()._get(path, form)
            except (OSError, HTTPException) as error:
                if isinstance(error, HTTPError) and error.code < 500:
                    raise
                if time.monotonic() > deadline:
                    raise VisitFailed(f"{path}: {error}") from error
            self.retries += 1
            time.sleep(RETRY_PAUSE)


class FormFields(HTMLParser):
    """Parse the values of all form fields of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.open = ""  # the textarea or select being parsed
        self.feed(page)
        self.fields.pop("csrfmiddlewaretoken", None)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        if tag == "input" and given.get("type") in TEXTS and "name" in given:
            self.fields[given["name"]] = given.get("value", "")
        elif tag in ("textarea", "select"):
            self.open = given.get("name", "")
        elif tag == "option" and "selected" in given:
            self.fields[self.open] = given.get("value", "")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "textarea" and self.open:
            self.fields[self.open] = self.fields.get(self.open, "") + data.lstrip("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("textarea", "select"):
            self.open = ""


def address(name: str) -> str:
    """Return the email address for a name."""
    return f"{name}@example.com"
