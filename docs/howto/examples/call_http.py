"""A receiver that calls a service over HTTP."""

from __future__ import annotations

from typing import Any

import requests
from django.conf import settings
from django.dispatch import receiver

from signal_tasks import (
    AsyncSignal,
    Breaker,
    Reject,
    Retry,
    RetryPolicy,
    current_delivery,
)
from signal_tasks.contrib.http import retry_after

invoice_paid = AsyncSignal(name="billing.signals.invoice_paid")

#: Seconds to connect, and between two bytes of the answer.
PATIENCE = (5, 20)
DAY = 24 * 3600
#: "Not now": timeout, too early, too many requests, unavailable.
LATER = {408, 425, 429, 503}


@receiver(
    invoice_paid,
    atomic=False,  # no transaction is open while we wait
    queue="http",  # a slow service delays no other receivers
    timeout=60,  # for the whole attempt; requests limits single waits only
    rate_limit="100/m",  # of all workers together, as the service allows
    breaker=Breaker(failures=5, pause=30),  # leave it alone while it is down
    retry=RetryPolicy(max_attempts=12, backoff=5, max_delay=1800, give_up_after=DAY),
)
def tell_bookkeeping(sender: Any, number: str, **kwargs: Any) -> None:
    answer = requests.post(
        settings.BOOKKEEPING_URL,
        json={"invoice": number},
        headers={"Idempotency-Key": current_delivery().idempotency_key},
        timeout=PATIENCE,
        allow_redirects=False,
    )
    check(answer)


def check(answer: requests.Response) -> None:
    """Return if it was accepted; else say whether another attempt can help."""
    said = f"HTTP {answer.status_code}: {answer.text[:200]}"
    if answer.status_code in LATER:
        busy = answer.status_code == 429  # not our failure: it spends no attempt
        raise Retry(said, after=pause(answer), counts=not busy)
    if 300 <= answer.status_code < 500:
        raise Reject(said)
    answer.raise_for_status()  # 5xx: the policy says when to try again


def pause(answer: requests.Response) -> float | None:
    """Return the seconds that the service asks us to wait; None: as the policy says."""
    asked = retry_after(answer)  # seconds, or a date
    return None if asked is None else min(asked, DAY)
