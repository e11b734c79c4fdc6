"""Our side: a signal for each kind of work, with its durable receivers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.dispatch import receiver

from benchmarks.project import work
from benchmarks.project.celery_app import app as app  # the app that tasks belong to
from benchmarks.project.models import Order
from signal_tasks import AsyncSignal, Coalesce
from signal_tasks.broker.publisher import publisher

KEYS = 10_000

order_placed = AsyncSignal()
order_placed_singly = AsyncSignal()
order_placed_outside = AsyncSignal()
order_placed_thrice = AsyncSignal()

stock_saved = AsyncSignal()

#: All orders under one key, and each under one of KEYS.
order_placed_hot = AsyncSignal(key=lambda sender, **kwargs: "hot")
order_placed_hot_outside = AsyncSignal(key=lambda sender, **kwargs: "hot")
order_placed_light = AsyncSignal()
order_placed_hot_light = AsyncSignal(key=lambda sender, **kwargs: "hot")
order_placed_keyed = AsyncSignal(key=lambda sender, order_id, **_: order_id % KEYS)


@receiver(order_placed)
def take_stock(sender: object, order_id: int, stock_id: int, **kwargs: Any) -> None:
    work.take_stock(order_id, stock_id)


@receiver(order_placed_singly, group_commit=False)
def take_singly(sender: object, order_id: int, stock_id: int, **kwargs: Any) -> None:
    work.take_stock(order_id, stock_id)


@receiver(order_placed_outside, atomic=False)
def tell_outside(sender: object, order_id: int, **kwargs: Any) -> None:
    work.tell_outside(order_id)


@receiver(order_placed_thrice)
def first(sender: object, order_id: int, stock_id: int, **kwargs: Any) -> None:
    work.take_stock(order_id, stock_id)


@receiver(order_placed_thrice)
def second(sender: object, order_id: int, stock_id: int, **kwargs: Any) -> None:
    work.take_stock(order_id, stock_id)


@receiver(order_placed_thrice, atomic=False)
def third(sender: object, order_id: int, **kwargs: Any) -> None:
    work.tell_outside(order_id)


@receiver(order_placed_hot, ordered=True)
def take_hot(sender: object, order_id: int, stock_id: int, **kwargs: Any) -> None:
    work.take_stock(order_id, stock_id)


@receiver(order_placed_hot_outside, ordered=True, atomic=False)
def tell_hot(sender: object, order_id: int, **kwargs: Any) -> None:
    work.tell_outside(order_id)


@receiver(order_placed_light)
def note_light(sender: object, order_id: int, **kwargs: Any) -> None:
    work.tell_outside(order_id)


@receiver(order_placed_hot_light, ordered=True)
def note_hot(sender: object, order_id: int, **kwargs: Any) -> None:
    work.tell_outside(order_id)


@receiver(order_placed_keyed, ordered=True)
def take_keyed(sender: object, order_id: int, stock_id: int, **kwargs: Any) -> None:
    work.take_stock(order_id, stock_id)


@receiver(
    stock_saved,
    coalesce=Coalesce(
        key=lambda sender, stock_id, **_: stock_id, within=2.0, max_wait=30.0
    ),
)
def note_the_newest(sender: object, order_id: int, **kwargs: Any) -> None:
    work.mark("newest", order_id)


SIGNALS = {
    "atomic": order_placed,
    "single": order_placed_singly,
    "outside": order_placed_outside,
    "thrice": order_placed_thrice,
    "hot": order_placed_hot,
    "hot_outside": order_placed_hot_outside,
    "light": order_placed_light,
    "hot_light": order_placed_hot_light,
    "keyed": order_placed_keyed,
    "storm": stock_saved,
}


def send(kind: str, order_id: int, stock_id: int) -> None:
    SIGNALS[kind].send(sender=Order, order_id=order_id, stock_id=stock_id)


def send_many(rows: Iterable[tuple[int, int]]) -> None:
    order_placed.send_many(
        sender=Order,
        items=[{"order_id": order, "stock_id": stock} for order, stock in rows],
    )


def flush() -> None:
    publisher.flush(10.0)
