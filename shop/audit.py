"""``python -m shop.audit``: compare the shop's rows and sent emails, as JSON.

It compares an order with its stock movements, the stock with the sum of movements, and
an order with its emails. It does not read the tables of ``signal_tasks``.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import django
from django.apps import apps
from django.conf import settings
from django.db.models import QuerySet, Sum

from shop.mail_folder import messages_in


def audit() -> dict[str, int]:
    """Count what happened, what is missing, and what happened twice."""
    return {**orders(), **inventory(), **emails()}


def orders() -> dict[str, int]:
    """Count the confirmed orders."""
    return {
        "orders_confirmed": standing().count(),
        "orders_back_ordered": standing().filter(status="back-ordered").count(),
    }


def standing() -> QuerySet[Any]:
    """Return the orders that were confirmed and are not cancelled."""
    orders = apps.get_model("orders", "Order").objects
    return orders.filter(status__in=["confirmed", "back-ordered"])


def cancelled() -> QuerySet[Any]:
    """Return the cancelled orders, which must hold no stock."""
    return apps.get_model("orders", "Order").objects.filter(status="cancelled")


def inventory() -> dict[str, int]:
    """Compare the lines of confirmed orders with their stock movements."""
    lines = apps.get_model("orders", "OrderLine").objects
    wanted = set(
        lines.filter(order__in=standing()).values_list("order__reference", "product")
    )
    movements = apps.get_model("products", "StockMovement").objects.order_by()
    taken = movements.filter(kind="taken")
    made = Counter(taken.values_list("order_reference", "product"))
    kept = movements.filter(order_reference__in=cancelled().values("reference"))
    stock = apps.get_model("products", "Product").objects.aggregate(n=Sum("stock"))
    return {
        "movements": made.total(),
        "movements_lost": len(wanted - set(made)),
        "movements_doubled": made.total() - len(made),
        "kept_by_cancelled": kept.aggregate(n=Sum("quantity"))["n"] or 0,
        "taken": movements.aggregate(n=Sum("quantity"))["n"] or 0,
        "stock": stock["n"] or 0,
    }


def emails() -> dict[str, int]:
    """Compare the emails that each order requires with those that were sent."""
    folder = Path(settings.EMAIL_FILE_PATH)
    sent = Counter(str(message["Message-ID"]) for message in messages_in(folder))
    noted = apps.get_model("notifications", "Notification").objects.order_by()
    made = {
        (order, kind)
        for order, kind, id_ in noted.values_list("order", "kind", "message_id")
        if id_ in sent
    }
    return {
        "emails": sent.total(),
        "emails_lost": len(required_emails() - made),
        "emails_doubled": sent.total() - len(sent),
    }


def required_emails() -> set[tuple[int, str]]:
    """Return (order, kind) of each email that must have been sent."""
    back_ordered = standing().filter(status="back-ordered")
    served = standing().exclude(served_event_id=None)
    return {
        (pk, kind)
        for orders, kind in (
            (standing(), "order-confirmation"),
            (back_ordered, "back-order"),
            (served, "back-order-served"),
            (cancelled().exclude(confirmed_at=None), "order-cancellation"),
        )
        for pk in orders.values_list("pk", flat=True)
    }


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    django.setup()
    json.dump(audit(), sys.stdout)
