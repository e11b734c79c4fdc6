"""The workload: customers that use the shop at random."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from urllib.error import HTTPError

from chaos.scenarios.client import Acknowledged, Visit, VisitFailed, address
from shop.http_client import ShopClient
from tests.post_office import PostOffice

# Nearly sold out, so that some orders have to wait.
SCARCE = "last-winters-candle"
EMAIL_TIMEOUT = 60.0  # seconds
PAUSE = 0.1  # seconds between two looks at the received emails


class Customer:
    """A customer that visits the shop again and again, for random operations."""

    def __init__(
        self, number: int, shop: str, mail_server: PostOffice, seed: str
    ) -> None:
        self.number = number
        self.name = f"customer{number}"
        self.shop = shop
        self.mail_server = mail_server
        self.rng = random.Random(f"{seed} {number}")  # noqa: S311
        self.numbers: Iterator[int] = count()
        self.acknowledged: list[Acknowledged] = []
        self.counts: Counter[str] = Counter()
        self.products = ShopClient(shop).products()

    def visit_until(self, over: Callable[[], bool]) -> None:
        """Visit the shop until ``over()`` is true."""
        rounds = self._rounds()
        while not over():
            visit = self._visit()
            try:
                next(rounds)(visit)
            except (VisitFailed, HTTPError, TimeoutError, ValueError):
                self.counts["failed visits"] += 1
            self.counts["visits"] += 1
            self.counts["retried requests"] += visit.retries

    def _rounds(self) -> Iterator[Callable[[Visit], object]]:
        """Yield all operations, each round in a random order.

        Each customer begins with another operation, so that a short run has them all.
        """
        yield self.operations[self.number % len(self.operations)]
        while True:
            yield from self.rng.sample(self.operations, len(self.operations))

    @property
    def operations(self) -> list[Callable[[Visit], object]]:
        """Return the operations of a round; frequent ones several times."""
        return [
            self.buy,
            self.buy,
            self.leave_unproved,
            self.cancel,
            self.use_account,
            self.subscribe,
            self.unsubscribe,
        ]

    def buy(self, visit: Visit) -> None:
        """Order one to three times with an address that is proved once."""
        email = address(self._new("buyer"))
        for _ in range(self.rng.randint(1, 3)):
            visit.order(self._choice(), email)

    def leave_unproved(self, visit: Visit) -> None:
        """Order with an address, do not prove it, and cancel: it gets no other email."""
        order, _ = visit.place(self._choice(), address(self._new("stranger")))
        visit.cancel(order)

    def cancel(self, visit: Visit) -> None:
        """Order, then cancel at once or after half a second."""
        order = visit.order(self._choice(), address(self._new("buyer")))
        time.sleep(self.rng.choice((0, 0, 0.5)))
        visit.cancel(order)

    def use_account(self, visit: Visit) -> None:
        """Create an account, and use everything that needs one."""
        name = self._new("owner")
        visit.register(name)
        visit.rename(name, last_name="Anders")
        visit.request_notification(name, f"{name}, Esq.")
        visit.review(self.rng.choice(self.products), f"As {name} sees it: good.")
        lines = {self.rng.choice(self.products): 1}
        second = self._visit()
        second.sign_in(name)
        second.order(lines, address(name))

    def subscribe(self, visit: Visit) -> None:
        """Subscribe to the newsletter."""
        visit.subscribe(address(self._new("reader")))

    def unsubscribe(self, visit: Visit) -> None:
        """Subscribe, and unsubscribe by the link of the email that confirms it."""
        email = address(self._new("leaver"))
        visit.subscribe(email)
        visit.unsubscribe(unsubscribe_link(self.mail_server, email), email)

    def _choice(self) -> dict[str, int]:
        """Return one to three products, with quantities."""
        chosen = self.rng.sample(self.products, self.rng.randint(1, 3))
        if self.rng.random() < 0.5:
            chosen = list(dict.fromkeys([*chosen, SCARCE]))
        return {product: self.rng.randint(1, 3) for product in chosen}

    def _visit(self) -> Visit:
        return Visit(self.shop, self.mail_server.link_to, self.acknowledged)

    def _new(self, role: str) -> str:
        return f"{self.name}-{role}{next(self.numbers)}"


class Staff(Customer):
    """A member of staff that enters arrived products."""

    @property
    def operations(self) -> list[Callable[[Visit], object]]:
        return [self.receive]

    def receive(self, visit: Visit) -> None:
        """Enter that a few pieces of the scarce product have arrived."""
        visit.sign_in(self.name)
        visit.restock(SCARCE, self.rng.randint(2, 6))
        time.sleep(2)


def unsubscribe_link(mail_server: PostOffice, email: str) -> str:
    """Return the link in the headers of a newsletter email; wait for the email."""
    deadline = time.monotonic() + EMAIL_TIMEOUT
    while time.monotonic() < deadline:
        for message in list(mail_server.received):
            if message["To"] == email and message["List-Unsubscribe"]:
                return "".join(message["List-Unsubscribe"].split()).strip("<>")
        time.sleep(PAUSE)
    raise TimeoutError(f"No newsletter came to {email} in {EMAIL_TIMEOUT:.0f} s.")
