"""A client of the shop: buys over HTTP, with cookies and forms, as a browser does."""

from __future__ import annotations

import re
from collections.abc import Callable
from http.cookiejar import CookieJar
from urllib.parse import urlencode, urljoin
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

PRODUCT = re.compile(r'href="/products/([-\w]+)/"')
ORDER = re.compile(r"/orders/(\d+)/$")
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')


class ShopClient:
    """One visit to the shop. Do not share it between threads.

    ``links`` returns the newest link that the shop has sent to an address, and waits for
    it: whoever orders has to prove their address once per visit.
    """

    def __init__(self, shop: str, links: Callable[[str], str] | None = None) -> None:
        self.shop = shop
        self.links = links
        # Without proxies: the shop is on this machine.
        self.opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()))

    def products(self) -> list[str]:
        """Return the products of the catalogue, each once."""
        page, _ = self._get("/")
        return list(dict.fromkeys(PRODUCT.findall(page)))

    def buy(self, product: str, quantity: int, name: str, email: str) -> int:
        """Place an order, prove the address if asked to, confirm; return its number."""
        page, _ = self._get(f"/products/{product}/")
        order = {"product": product, "quantity": quantity, "name": name, "email": email}
        page, address = self._post("/orders/", page, **order)
        found = ORDER.search(address)
        if found is None:
            raise ValueError(f"Placing an order led to {address}.")
        self.confirm(int(found[1]), page, email)
        return int(found[1])

    def confirm(self, order: int, page: str, email: str) -> None:
        """Confirm an order whose page this is, after proving its address if needed."""
        path = f"/orders/{order}/confirm/"
        if path not in page:
            self.prove(email)
            page, _ = self._get(f"/orders/{order}/")
        if path not in page:
            raise ValueError(f"Order {order} cannot be confirmed by this visit.")
        self._post(path, page)

    def prove(self, email: str) -> None:
        """Open the link that was sent to an address, and press its button."""
        link = self.link_to(email)
        page, _ = self._get(link)
        self._post(link, page)

    def link_to(self, email: str) -> str:
        """Return the newest link that was sent to an address; wait for it."""
        if self.links is None:
            raise ValueError(f"{email} has to be proved, and nobody reads its emails.")
        return self.links(email)

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
