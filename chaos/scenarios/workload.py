"""Who comes to the shop, and what chance has them do there."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from urllib.error import HTTPError

from chaos.scenarios.client import BrokenOff, Visitor, Yes, address
from shop.shopper import Shopper
from tests.post_office import PostOffice

# Nearly sold out, so that some of its orders have to wait.
SCARCE = "last-winters-candle"


class Customer:
    """Somebody who comes again and again, and does each time what chance wants."""

    def __init__(self, number: int, shop: str, office: PostOffice, seed: str) -> None:
        self.name = f"visitor{number}"
        self.shop = shop
        self.office = office
        self.rng = random.Random(f"{seed} {number}")  # noqa: S311
        self.numbers: Iterator[int] = count()
        self.said: list[Yes] = []
        self.counts: Counter[str] = Counter()
        self.reading: list[str] = []  # addresses that get the newsletter
        self.products = Shopper(shop).products()

    def visit_until(self, over: Callable[[], bool]) -> None:
        """Come again until it is over."""
        while not over():
            visitor = Visitor(self.shop, self.said)
            try:
                self.rng.choice(self.stories)(visitor)
            except (BrokenOff, HTTPError, ValueError):
                self.counts["visits broken off"] += 1
            self.counts["visits"] += 1
            self.counts["requests sent again"] += visitor.repeated

    @property
    def stories(self) -> list[Callable[[Visitor], object]]:
        """What may happen, the likelier the more often it is here."""
        others = [self.think_again, self.live_here, self.read, self.read_no_more]
        return [*[self.buy] * 4, *others]

    def buy(self, visitor: Visitor) -> int:
        """Order one to three products."""
        chosen = self.rng.sample(self.products, self.rng.randint(1, 3))
        if self.rng.random() < 0.3:
            chosen = list(dict.fromkeys([*chosen, SCARCE]))
        lines = {product: self.rng.randint(1, 3) for product in chosen}
        return visitor.order(lines, address(self._new("buyer")))

    def think_again(self, visitor: Visitor) -> None:
        """Order, wait a little or not at all, and cancel."""
        order = self.buy(visitor)
        time.sleep(self.rng.choice((0, 0, 0.5)))
        visitor.cancel(order)

    def live_here(self, visitor: Visitor) -> None:
        """Make an account, and use it as one does."""
        name = self._new("owner")
        visitor.register(name)
        visitor.rename(name, last_name="Anders")
        visitor.ask_for_notification(name, f"{name}, Esq.")
        visitor.review(self.rng.choice(self.products), f"As {name} sees it: good.")
        lines = {self.rng.choice(self.products): 1}
        again = Visitor(self.shop, self.said)
        again.sign_in(name)
        again.order(lines, address(name))

    def read(self, visitor: Visitor) -> None:
        """Ask for the newsletter."""
        email = address(self._new("reader"))
        visitor.subscribe(email)
        self.reading.append(email)

    def read_no_more(self, visitor: Visitor) -> None:
        """Leave the newsletter by the link of its mail, once that has come."""
        links = leave_links(self.office)
        found = [email for email in self.reading if email in links]
        if found:
            self.reading.remove(found[0])
            visitor.leave(links[found[0]], found[0])

    def _new(self, who: str) -> str:
        return f"{self.name}-{who}{next(self.numbers)}"


class Staff(Customer):
    """Somebody who enters what has arrived."""

    @property
    def stories(self) -> list[Callable[[Visitor], object]]:
        return [self.receive]

    def receive(self, visitor: Visitor) -> None:
        """A few of what is scarce have arrived."""
        visitor.sign_in(self.name)
        visitor.restock(SCARCE, self.rng.randint(2, 6))
        time.sleep(2)


def leave_links(office: PostOffice) -> dict[str, str]:
    """The links by which one leaves the newsletter, by address."""
    return {
        str(message["To"]): "".join(message["List-Unsubscribe"].split()).strip("<>")
        for message in list(office.received)
        if message["List-Unsubscribe"]
    }
