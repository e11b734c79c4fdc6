"""How notifications react to what happens elsewhere in the shop.

None of these is atomic: a mail server must not be waited for in a transaction.
See Note [Twice at worst].
"""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.urls import reverse

from customers.newsletter import subscriber_at, unsubscribe_token
from customers.signals import user_registered, user_subscribed, user_unsubscribed
from notifications.models import Notification
from notifications.services import Email, is_flooded, notify, post
from notifications.signals import notification
from orders.models import Order
from orders.signals import (
    back_order_served,
    order_back_ordered,
    order_cancelled,
    order_confirmed,
)
from products.models import Review
from signal_tasks import RetryPolicy, async_receiver, current_delivery

RETRIES = RetryPolicy(max_attempts=8)


@receiver(order_confirmed, atomic=False, queue="email", retry=RETRIES, timeout=20)
def send_order_confirmation(sender: object, order: Order, **kwargs: object) -> None:
    """Tell the customer that the order is confirmed, if it still is by now."""
    if order.status == Order.Status.CANCELLED:
        return
    notify(
        key=UUID(current_delivery().idempotency_key),
        kind=Notification.Kind.ORDER_CONFIRMATION,
        subject=f"Your order {order.pk} is confirmed",
        order=order,
    )


@receiver(order_back_ordered, atomic=False, queue="email", retry=RETRIES, timeout=20)
def send_back_order_notice(sender: object, order: Order, **kwargs: object) -> None:
    """Tell the customer what has to wait, if it still has to."""
    if order.status != Order.Status.BACK_ORDERED:
        return
    notify(
        key=UUID(current_delivery().idempotency_key),
        kind=Notification.Kind.BACK_ORDER,
        subject=f"Part of your order {order.pk} is on back-order",
        order=order,
    )


@receiver(back_order_served, atomic=False, queue="email", retry=RETRIES, timeout=20)
def send_back_order_served(sender: object, order: Order, **kwargs: object) -> None:
    """Tell the customer that the wait is over."""
    notify(
        key=UUID(current_delivery().idempotency_key),
        kind=Notification.Kind.BACK_ORDER_SERVED,
        subject=f"The rest of your order {order.pk} is here",
        order=order,
    )


@receiver(order_cancelled, atomic=False, queue="email", retry=RETRIES, timeout=20)
def send_order_cancellation(sender: object, order: Order, **kwargs: object) -> None:
    """Tell the customer that the order is cancelled."""
    notify(
        key=UUID(current_delivery().idempotency_key),
        kind=Notification.Kind.ORDER_CANCELLATION,
        subject=f"Your order {order.pk} is cancelled",
        order=order,
    )


@receiver(
    user_registered,
    atomic=False,
    queue="email",
    retry=RETRIES,
    timeout=30,
    on_missing="skip",  # an account that is gone needs no welcome
)
def send_welcome(sender: object, user: User, **kwargs: object) -> None:
    """Welcome somebody who has made an account."""
    _write(
        Email(
            kind=Notification.Kind.WELCOME,
            subject="Welcome to Signal & Sons",
            recipient=user.email,
            context={"user": user, "site": settings.SITE_URL},
        )
    )


def is_news_to_vendor(
    sender: object, instance: Review, created: bool = False, **kwargs: object
) -> bool:
    """Whether there is a vendor to tell, who did not write the review themselves."""
    vendor = instance.product.vendor_id
    return created and vendor is not None and vendor != instance.author_id


@async_receiver(
    post_save,
    sender=Review,
    when=is_news_to_vendor,
    atomic=False,
    queue="email",
    retry=RETRIES,
    timeout=30,
    on_missing="skip",  # a review that was taken back is no news
)
def send_review_to_vendor(sender: object, instance: Review, **kwargs: object) -> None:
    """Tell the vendor what somebody says of their product."""
    vendor = instance.product.vendor
    if vendor is None or not vendor.email:
        return
    _write(
        Email(
            kind=Notification.Kind.REVIEW,
            subject=f"A review of {instance.product}",
            recipient=vendor.email,
            context={
                "review": instance,
                "product": instance.product,
                "author": instance.author.get_full_name(),
                "vendor": vendor,
                "site": settings.SITE_URL,
            },
        )
    )


@receiver(user_subscribed, atomic=False, queue="email", retry=RETRIES, timeout=30)
def send_subscription(sender: object, user_email: str, **kwargs: object) -> None:
    """Confirm that the newsletter will come, with the link by which one leaves it.

    Mail programs make a button of the two headers: see RFC 2369 and RFC 8058.
    """
    subscriber = subscriber_at(user_email)
    if subscriber is None or is_flooded(user_email):
        return
    leave = settings.SITE_URL + reverse("leave", args=[unsubscribe_token(subscriber)])
    _write(
        Email(
            kind=Notification.Kind.SUBSCRIPTION,
            subject="You get our newsletter",
            recipient=user_email,
            context={"email": user_email, "leave": leave},
            headers={
                "List-Unsubscribe": f"<{leave}>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            },
        )
    )


@receiver(user_unsubscribed, atomic=False, queue="email", retry=RETRIES, timeout=30)
def send_unsubscription(sender: object, user_email: str, **kwargs: object) -> None:
    """Confirm that it will come no more: somebody else may have typed the address."""
    if is_flooded(user_email):
        return
    _write(
        Email(
            kind=Notification.Kind.UNSUBSCRIPTION,
            subject="You get our newsletter no more",
            recipient=user_email,
            context={"email": user_email, "site": settings.SITE_URL},
        )
    )


@receiver(notification, atomic=False, queue="email", retry=RETRIES, timeout=30)
def send_notification(
    sender: object, email: str, username: str, **kwargs: object
) -> None:
    """Write what somebody asked for on the page."""
    _write(
        Email(
            kind=Notification.Kind.CUSTOM,
            subject="Your notification",
            recipient=email,
            context={"username": username},
        )
    )


@receiver(notification, inline=True)
def fail_on_purpose(sender: object, **kwargs: object) -> None:
    """Show what ``send_robust`` makes of a receiver that fails: an answer.

    It runs in the sender's process and transaction. The event was written before, and
    what is owed to the durable receiver stays owed.
    """
    raise RuntimeError("This receiver fails on purpose.")


def _write(letter: Email) -> None:
    post(letter, key=UUID(current_delivery().idempotency_key))
