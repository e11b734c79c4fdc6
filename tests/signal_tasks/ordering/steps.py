"""Steps of the tests of ordering: connect, send under a key, run messages."""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections, transaction

from signal_tasks import AsyncSignal, DeliveryHandle, Reject, RetryPolicy
from signal_tasks.delivery.message import process_message
from signal_tasks.delivery.result import MessageResult
from signal_tasks.models import Delivery, Turn
from signal_tasks.models import Sequence as Counter

AT_ONCE = RetryPolicy(max_attempts=3, backoff=0, jitter=False)
LATER = RetryPolicy(max_attempts=3, backoff=3600, jitter=False)
ONCE = RetryPolicy(max_attempts=1)


class Ordered:
    """A signal with one ordered receiver, which notes what it gets."""

    def __init__(self, **options: Any) -> None:
        self.signal = AsyncSignal(name=f"tests.signal_{uuid.uuid4().hex}")
        self.name = f"tests.receiver_{uuid.uuid4().hex}"
        self.calls: list[Any] = []
        self.failing: set[Any] = set()
        self.rejected: set[Any] = set()
        self.during: Callable[[Any], object] = lambda n: None

        def receiver(sender: object, n: Any, **kwargs: Any) -> None:
            self.calls.append(n)
            self.during(n)
            if n in self.failing:
                raise RuntimeError(f"{n} fails")
            if n in self.rejected:
                raise Reject(f"{n} is refused")

        given: dict[str, Any] = {"ordered": True, "name": self.name} | options
        self.signal.connect(receiver, weak=False, **given)

    def send(self, n: Any, key: Any = "k", **options: Any) -> DeliveryHandle:
        bound = self.signal.using(key=key, **options)
        ((_, handle),) = bound.send(sender=None, n=n)
        assert isinstance(handle, DeliveryHandle)
        return handle

    def send_all(
        self, numbers: Collection[Any], key: Any = "k"
    ) -> list[DeliveryHandle]:
        return [self.send(n, key) for n in numbers]

    def run(self, *handles: DeliveryHandle, **options: Any) -> MessageResult:
        """Process one message with these deliveries."""
        ids = [str(handle.id) for handle in handles]
        options = {"seconds": math.inf} | options  # however busy the machine is
        return process_message(self.name, ids, "default", **options)

    def states(self) -> list[str]:
        """Return the states of all deliveries in the order in which they were sent."""
        rows = Delivery.objects.filter(receiver=self.name).order_by("pk")
        return list(rows.values_list("state", flat=True))


def positions(*handles: DeliveryHandle) -> list[int | None]:
    turns = Turn.objects.in_bulk([handle.id for handle in handles])
    found = [turns.get(handle.id) for handle in handles]
    return [None if turn is None else turn.position for turn in found]


def counter(key: str, name: str) -> Counter:
    return Counter.objects.get(receiver=name, key=key)


def row(handle: DeliveryHandle) -> Delivery:
    return Delivery.objects.get(pk=handle.id)


def lose(ordered: Ordered, *handles: DeliveryHandle) -> None:
    """Claim deliveries as a worker does that dies then."""
    rows = Delivery.objects.claim(
        [handle.id for handle in handles],
        names=[ordered.name],
        lease=-1,
        ordered=True,
    )
    assert len(rows) == len(handles)


@contextmanager
def in_thread(work: Callable[[], object]) -> Iterator[threading.Thread]:
    """Run this with connections of its own; raise here what it raises."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001
            errors.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    yield thread
    thread.join(60)
    assert not thread.is_alive()
    for error in errors:
        raise error


def rolled_back(work: Callable[[], object]) -> None:
    with transaction.atomic():
        work()
        transaction.set_rollback(True)
