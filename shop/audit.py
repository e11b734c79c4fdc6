"""``python -m shop.audit``: what the shop's rows and mail folder say, as JSON.

It asks the things that must agree, not the machinery that made them so: an order and
its stock movements, the stock and the sum of movements, an order and its emails.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from email import message_from_string
from pathlib import Path

import django
from django.apps import apps
from django.conf import settings
from django.db.models import Sum

BETWEEN_MESSAGES = "\n" + "-" * 79  # how Django's file backend ends each message


def audit() -> dict[str, int]:
    """Count what happened, what is missing, and what happened twice."""
    return {**orders(), **inventory(), **emails()}


def orders() -> dict[str, int]:
    """Count the orders."""
    confirmed = apps.get_model("orders", "Order").objects.exclude(confirmed_at=None)
    back_ordered = confirmed.filter(status="back-ordered")
    return {
        "orders_confirmed": confirmed.count(),
        "orders_back_ordered": back_ordered.count(),
    }


def inventory() -> dict[str, int]:
    """Compare each line of a confirmed order with the movements that it caused."""
    lines = apps.get_model("orders", "OrderLine").objects.exclude(
        order__confirmed_at=None
    )
    wanted = set(lines.values_list("order__reference", "product"))
    movements = apps.get_model("products", "StockMovement").objects.order_by()
    made = Counter(movements.values_list("order_reference", "product"))
    stock = apps.get_model("products", "Product").objects.aggregate(n=Sum("stock"))
    return {
        "movements": made.total(),
        "movements_lost": len(wanted - set(made)),
        "movements_doubled": made.total() - len(made),
        "taken": movements.aggregate(n=Sum("quantity"))["n"] or 0,
        "stock": stock["n"] or 0,
    }


def emails() -> dict[str, int]:
    """Compare each message that an order calls for with those that really went out."""
    folder = Path(settings.EMAIL_FILE_PATH)
    sent = Counter(id_ for file in folder.glob("*") for id_ in message_ids(file))
    noted = apps.get_model("notifications", "Notification").objects.order_by()
    made = {
        (order, kind)
        for order, kind, id_ in noted.values_list("order", "kind", "message_id")
        if id_ in sent
    }
    return {
        "emails": sent.total(),
        "emails_lost": len(emails_called_for() - made),
        "emails_doubled": sent.total() - len(sent),
    }


def emails_called_for() -> set[tuple[int, str]]:
    """Return order and kind of each message that must have been sent."""
    confirmed = apps.get_model("orders", "Order").objects.exclude(confirmed_at=None)
    back_ordered = confirmed.filter(status="back-ordered")
    return {
        (pk, "order-confirmation") for pk in confirmed.values_list("pk", flat=True)
    }.union((pk, "back-order") for pk in back_ordered.values_list("pk", flat=True))


def message_ids(file: Path) -> list[str]:
    """Return the Message-ID of each message in a file."""
    texts = file.read_text().split(BETWEEN_MESSAGES)
    messages = (message_from_string(text.lstrip()) for text in texts if text.strip())
    return [str(message["Message-ID"]) for message in messages]


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    django.setup()
    json.dump(audit(), sys.stdout)
