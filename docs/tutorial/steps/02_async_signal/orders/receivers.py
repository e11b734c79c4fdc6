"""The receivers of confirmed orders."""

from django.core.mail import send_mail
from django.db.models import F
from django.dispatch import receiver

from orders.models import Product
from orders.signals import order_confirmed


@receiver(order_confirmed)
def send_confirmation(sender, order, **kwargs):
    send_mail("Your order", f"On its way: {order}.", None, [order.email])


@receiver(order_confirmed)
def take_stock(sender, order, **kwargs):
    product = Product.objects.filter(pk=order.product_id)
    product.update(stock=F("stock") - order.quantity)
