"""The receivers of confirmed orders."""

from django.core.mail import EmailMessage
from django.db.models import F
from django.dispatch import receiver
from signal_tasks import Reject, RetryPolicy, current_delivery

from orders.models import OutOfStock, Product
from orders.signals import order_confirmed


@receiver(order_confirmed, inline=True)
def check_stock(sender, order, **kwargs):
    if order.product.stock < order.quantity:
        raise OutOfStock


@receiver(
    order_confirmed,
    atomic=False,
    retry=RetryPolicy(max_attempts=8, backoff=10),
    timeout=30,
)
def send_confirmation(sender, order, **kwargs):
    key = current_delivery().idempotency_key
    EmailMessage(
        "Your order",
        f"On its way: {order}.",
        to=[order.email],
        headers={"Message-ID": f"<{key}@example.com>"},
    ).send()


@receiver(order_confirmed)
def take_stock(sender, order, **kwargs):
    enough = Product.objects.filter(pk=order.product_id, stock__gte=order.quantity)
    if not enough.update(stock=F("stock") - order.quantity):
        raise Reject(f"too few in stock for {order}")
