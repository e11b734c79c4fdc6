"""A client of the shop: buys over HTTP, with cookies and forms, as a browser does."""

from __future__ import annotations

import re
from http.cookiejar import CookieJar
from urllib.parse import urlencode, urljoin
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

PRODUCT = re.compile(r'href="/products/([-\w]+)/"')
ORDER = re.compile(r"/orders/(\d+)/$")
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')


class ShopClient:
    """One visit to the shop. Do not share it between threads."""

    def __init__(self, shop: str) -> None:
        self.shop = shop
        # Without proxies: the shop is on this machine.
        self.opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()))

    def products(self) -> list[str]:
        """Return the products of the catalogue, each once."""
        page, _ = self._get("/")
        return list(dict.fromkeys(PRODUCT.findall(page)))

    def buy(self, product: str, quantity: int, name: str, email: str) -> int:
        """Place an order, confirm it, and return its number."""
        page, _ = self._get(f"/products/{product}/")
        order = {"product": product, "quantity": quantity, "name": name, "email": email}
        page, address = self._post("/orders/", page, **order)
        found = ORDER.search(address)
        if found is None:
            raise ValueError(f"Placing an order led to {address}.")
        self._post(f"/orders/{found[1]}/confirm/", page)
        return int(found[1])

    def cancel(self, order: int) -> None:
        """Cancel an order of this visit, with the button of its page."""
        page, _ = self._get(f"/orders/{order}/")
        self._post(f"/orders/{order}/cancel/", page)

    def _post(self, path: str, page: str, **fields: object) -> tuple[str, str]:
        """Send the form of a page, with the token that the page carries."""
        token = TOKEN.search(page)
        if token is None:
            raise ValueError(f"The page before {path} has no form to send.")
        return self._get(path, urlencode({"csrfmiddlewaretoken": token[1], **fields}))

    def _get(self, path: str, form: str | None = None) -> tuple[str, str]:
        body = form.encode() if form is not None else None
        with self.opener.open(urljoin(self.shop, path), body, timeout=60) as answer:
            return answer.read().decode(), answer.geturl()
