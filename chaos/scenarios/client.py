"""A visit to the shop over HTTP, while it is being broken.

What fails because something is down is sent again, as people press reload; what the
shop has answered with yes is remembered, for the books.
"""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser
from http.client import HTTPException
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlencode

from shop.shopper import ORDER, Shopper

PASSWORD = "a long one, with 3 words"  # noqa: S105 - guards nothing
CHANGE = re.compile(r'href="(/admin/products/product/\d+/change/)')
PATIENCE = 20.0  # seconds that somebody presses reload for
PAUSE = 0.3
TEXTS = ("text", "number", "hidden", "email")


class BrokenOff(Exception):
    """The visit has ended before its story has."""


class Yes(NamedTuple):
    """Something that the shop has said it did."""

    what: str
    of: str


class Visitor(Shopper):
    """One visit, with all that one can do in the shop."""

    def __init__(self, shop: str, said: list[Yes]) -> None:
        super().__init__(shop)
        self.said = said
        self.repeated = 0

    def register(self, name: str) -> None:
        """Make an account; if it is there but the answer was lost, sign in."""
        page, _ = self._get("/register/")
        account = {
            "username": name,
            "first_name": name.title(),
            "last_name": "Muster",
            "email": address(name),
            "password1": PASSWORD,
            "password2": PASSWORD,
        }
        try:
            self._post("/register/", page, **account)
        except HTTPError as error:
            if error.code != 422:
                raise
            self.sign_in(name)
        self.said.append(Yes("account", name))

    def sign_in(self, name: str) -> None:
        """Sign in, with the password that everybody has here."""
        page, _ = self._get("/login/")
        _, where = self._post("/login/", page, username=name, password=PASSWORD)
        if where.endswith("/login/"):
            raise BrokenOff(f"{name} was not let in.")

    def rename(self, name: str, last_name: str) -> None:
        """Change one's name, which one's profile has to follow."""
        page, _ = self._get("/profile/")
        self._post("/profile/", page, first_name=name.title(), last_name=last_name)

    def order(self, lines: dict[str, int], email: str) -> int:
        """Fill the basket, order what is in it, confirm that, and return its number."""
        for product, quantity in lines.items():
            page, _ = self._get(f"/products/{product}/")
            self._post("/basket/", page, product=product, quantity=quantity)
        page, _ = self._get("/basket/")
        page, where = self._post("/basket/order/", page, name="A visitor", email=email)
        found = ORDER.search(where)
        if found is None:
            raise BrokenOff(f"Ordering led to {where}.")
        self._post(f"/orders/{found[1]}/confirm/", page)
        self.said.append(Yes("confirmed", found[1]))
        return int(found[1])

    def cancel(self, order: int) -> None:
        super().cancel(order)
        self.said.append(Yes("cancelled", str(order)))

    def review(self, product: str, text: str) -> None:
        """Say something of a product."""
        page, _ = self._get(f"/products/{product}/reviews/")
        self._post(f"/products/{product}/reviews/", page, rating=4, text=text)
        self.said.append(Yes("review", text))

    def subscribe(self, email: str) -> None:
        """Ask for the newsletter."""
        page, _ = self._get("/newsletter/")
        self._post("/newsletter/subscribe/", page, user_email=email)
        self.said.append(Yes("subscribed", email))

    def leave(self, link: str, email: str) -> None:
        """Press the button that a mail program makes of the link in its headers."""
        self._get(link, urlencode({"List-Unsubscribe": "One-Click"}))
        self.said.append(Yes("left", email))

    def ask_for_notification(self, name: str, called: str) -> None:
        """Have a notification sent to oneself, under some name."""
        page, _ = self._get("/notify/")
        self._post("/notify/", page, email=address(name), username=called)
        self.said.append(Yes("notified", called))

    def restock(self, product: str, quantity: int) -> None:
        """Enter in the admin what has arrived of a product."""
        page, _ = self._get(f"/admin/products/product/?q={product}")
        found = CHANGE.search(page)
        if found is None:
            raise BrokenOff("The admin does not show the product.")
        page, _ = self._get(found[1])
        fields = {**Filled(page).fields, "arrived": str(quantity)}
        self._post(found[1], page, **fields)
        self.said.append(Yes("arrived", product))

    def _get(self, path: str, form: str | None = None) -> tuple[str, str]:
        """Ask, and ask again as long as nobody answers, or something is broken."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return super()._get(path, form)
            except (OSError, HTTPException) as error:
                if isinstance(error, HTTPError) and error.code < 500:
                    raise
                if time.monotonic() > deadline:
                    raise BrokenOff(f"{path}: {error}") from error
            self.repeated += 1
            time.sleep(PAUSE)


class Filled(HTMLParser):
    """What the fields of a page's forms are filled with."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.open = ""  # the textarea or select that is being read
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
    """Where somebody of this name gets their mail."""
    return f"{name}@example.com"
