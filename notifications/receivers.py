"""How notifications react to what happens elsewhere in the shop.

None of these is atomic: a mail server must not be waited for in a transaction.
See Note [Twice at worst].
"""

from __future__ import annotations

from uuid import UUID

from django.dispatch import receiver

from notifications.models import Notification
from notifications.services import notify
from orders.models import Order
from orders.signals import order_back_ordered, order_confirmed
from signal_tasks import RetryPolicy, current_delivery

PATIENT = RetryPolicy(max_attempts=8)


@receiver(order_confirmed, atomic=False, queue="email", retry=PATIENT, timeout=30)
def send_order_confirmation(sender: object, order: Order, **kwargs: object) -> None:
    """Tell the customer that the order is confirmed."""
    notify(
        key=UUID(current_delivery().idempotency_key),
        kind=Notification.Kind.ORDER_CONFIRMATION,
        subject=f"Your order {order.pk} is confirmed",
        order=order,
    )


@receiver(order_back_ordered, atomic=False, queue="email", retry=PATIENT, timeout=30)
def send_back_order_notice(sender: object, order: Order, **kwargs: object) -> None:
    """Tell the customer what has to wait."""
    notify(
        key=UUID(current_delivery().idempotency_key),
        kind=Notification.Kind.BACK_ORDER,
        subject=f"Part of your order {order.pk} is on back-order",
        order=order,
    )
