"""Receivers that send emails.

None of them is atomic: no transaction stays open while the mail server answers.
See Note [Sent twice].
"""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.urls import reverse

from customers.models import Subscriber
from customers.newsletter import subscriber_at, unsubscribe_token
from customers.proofs import Claim, Purpose
from customers.services import has_account
from customers.signals import (
    proof_requested,
    user_registered,
    user_subscribed,
    user_unsubscribed,
)
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
from signal_tasks import Coalesce, RetryPolicy, async_receiver, current_delivery

RETRIES = RetryPolicy(max_attempts=8, max_delay=settings.EMAIL_MAX_DELAY)


@receiver(order_confirmed, atomic=False, queue="email", retry=RETRIES, timeout=20)
def send_order_confirmation(sender: object, order: Order, **kwargs: object) -> None:
    """Tell the customer that the order is confirmed, unless it was cancelled since."""
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
    """Tell the customer what has to wait, if it still waits."""
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
    """Tell the customer that the order is complete."""
    notify(
        key=UUID(current_delivery().idempotency_key),
        kind=Notification.Kind.BACK_ORDER_SERVED,
        subject=f"The rest of your order {order.pk} is here",
        order=order,
    )


@receiver(order_cancelled, atomic=False, queue="email", retry=RETRIES, timeout=20)
def send_order_cancellation(sender: object, order: Order, **kwargs: object) -> None:
    """Tell the customer that the order is cancelled.

    Nobody may have asked for it: an order can be cancelled before its address is proved.
    """
    if order.confirmed_at is None and not order.address_is_proved():
        return
    notify(
        key=UUID(current_delivery().idempotency_key),
        kind=Notification.Kind.ORDER_CANCELLATION,
        subject=f"Your order {order.pk} is cancelled",
        order=order,
    )


@receiver(proof_requested, atomic=False, queue="email", retry=RETRIES, timeout=30)
def send_proof(
    sender: object,
    purpose: str,
    email: str,
    user_id: int | None,
    visitor: str | None,
    **kwargs: object,
) -> None:
    """Send the link that proves an address, and nothing that a stranger has chosen."""
    claim = Claim(email=email, user_id=user_id, visitor=visitor)
    link = _proof_link(claim, Purpose(purpose))
    if link is None and purpose == Purpose.LEAVE:
        return
    _send(
        Email(
            kind=Notification.Kind.PROOF,
            subject="Is this your email address?",
            recipient=email,
            context={
                "purpose": purpose,
                "link": link and settings.SITE_URL + link,
                "login": settings.SITE_URL + reverse("login"),
            },
            secret=link or "",
        )
    )


def _proof_link(claim: Claim, purpose: Purpose) -> str | None:
    """Return the path of the link, or None if there is nothing to go on with."""
    if purpose is Purpose.LEAVE:
        subscriber = subscriber_at(claim.email)
        return _leave_link(subscriber) if subscriber else None
    if purpose is Purpose.ACCOUNT and has_account(claim.email):
        return None
    return reverse(PAGES[purpose], args=[claim.token(purpose)])


def _leave_link(subscriber: Subscriber) -> str:
    return reverse("leave", args=[unsubscribe_token(subscriber)])


PAGES = {
    Purpose.ADDRESS: "prove",
    Purpose.NEWSLETTER: "join",
    Purpose.ACCOUNT: "register-account",
}


@receiver(
    user_registered,
    atomic=False,
    queue="email",
    retry=RETRIES,
    timeout=30,
    on_missing="skip",  # an account that is gone needs no welcome
)
def send_welcome(sender: object, user: User, **kwargs: object) -> None:
    """Welcome a new user."""
    _send(
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
    """Return True if there is a vendor, who is not the author of the review."""
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
    coalesce=Coalesce(
        key=lambda sender, instance, **kwargs: instance.product_id,
        within=settings.REVIEW_DIGEST_SECONDS,
        max_wait=15 * settings.REVIEW_DIGEST_SECONDS,
    ),
)
def send_review_to_vendor(sender: object, instance: Review, **kwargs: object) -> None:
    """Tell the vendor of new reviews of a product: their texts stay on the page.

    One email for all that come in quick succession, about the newest of them.
    """
    vendor = instance.product.vendor
    if vendor is None or not vendor.email:
        return
    _send(
        Email(
            kind=Notification.Kind.REVIEW,
            subject=f"A review of {instance.product}",
            recipient=vendor.email,
            context={
                "review": instance,
                "product": instance.product,
                "reviews": instance.product.reviews.count(),
                "vendor": vendor,
                "site": settings.SITE_URL,
            },
        )
    )


@receiver(user_subscribed, atomic=False, queue="email", retry=RETRIES, timeout=30)
def send_subscription(sender: object, user_email: str, **kwargs: object) -> None:
    """Confirm the subscription, with the leave link.

    Mail programs make a button of the two headers: see RFC 2369 and RFC 8058.
    """
    subscriber = subscriber_at(user_email)
    if subscriber is None or is_flooded(user_email):
        return
    leave = settings.SITE_URL + _leave_link(subscriber)
    _send(
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
    """Confirm the end of a subscription."""
    if is_flooded(user_email):
        return
    _send(
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
    """Send the notification that was asked for on the page."""
    _send(
        Email(
            kind=Notification.Kind.CUSTOM,
            subject="Your notification",
            recipient=email,
            context={"username": username},
        )
    )


@receiver(notification, inline=True)
def fail_on_purpose(sender: object, **kwargs: object) -> None:
    """Fail, to show that ``send_robust`` returns the exception as an answer.

    This runs in the sender's process and transaction. The event was written before;
    the delivery of the durable receiver stays pending.
    """
    raise RuntimeError("This receiver fails on purpose.")


def _send(email: Email) -> None:
    post(email, key=UUID(current_delivery().idempotency_key))
