"""Two receivers that write and then fail, once each."""

from __future__ import annotations

from django.db.models import F
from django.dispatch import receiver

from signal_tasks import RetryPolicy, current_delivery
from smoke.models import Attempted, Order
from smoke.signals import confirmed

SOON = RetryPolicy(max_attempts=3, backoff=0.1)


@receiver(confirmed, retry=SOON)
def fail_once(sender, order, **kwargs):
    Order.objects.filter(pk=order.pk).update(stock=F("stock") - 1)
    if current_delivery().attempt == 1:
        raise RuntimeError("The first attempt writes and fails.")


@receiver(confirmed, atomic=False, retry=SOON)
def count_attempts(sender, order, **kwargs):
    Attempted.objects.create(number=current_delivery().attempt)
    if current_delivery().attempt == 1:
        raise RuntimeError("The first attempt writes and fails.")
